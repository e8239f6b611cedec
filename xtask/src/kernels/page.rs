//! The table in `docs/requirements.md`: what every row has shown, and when. A run replaces the rows that it ran. Pure.

use anyhow::{Context, bail};

use super::matrix::Row;

/// The table is between these lines of the page.
pub const BEGIN: &str = "<!-- The table is written by `cargo xtask kernels`. -->";
/// The line after it.
pub const END: &str = "<!-- End of the table. -->";
const HEAD: &str = "| kernel | condition | layout | backend | preemption | result | seconds | date |\n\
                    |---|---|---|---|---|---|---|---|\n";

/// What a row has shown.
pub struct Shown {
    /// The kernel's release. `None` if it did not come so far.
    pub release: Option<String>,
    /// When it preempts tasks in kernel code: `none`, `voluntary`, `full` or `lazy`; `None` if it did not say.
    pub preemption: Option<String>,
    /// Whether it was as expected.
    pub result: String,
    /// How long it took.
    pub seconds: u64,
    /// `2026-11-30`
    pub date: String,
}

impl Shown {
    /// Of a kernel that cannot be had.
    pub fn of_no_kernel(why: &str, date: String) -> Self {
        let why = why.lines().next().unwrap_or_default();
        let result = format!("FAILED: the kernel cannot be had: {why}");
        Self { release: None, preemption: None, result, seconds: 0, date }
    }
}

/// The first cells of a row, by which it is found again.
fn key(row: &Row) -> String {
    format!("| {} | {} | {} | {} |", row.series, row.condition.as_str(), row.layout.as_str(), row.backend.as_str())
}

/// One line of the table.
pub fn line(row: &Row, shown: &Shown) -> String {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    // What a guest has said must not break the table.
    let result = shown.result.replace('|', "\\|");
    let release = shown.release.as_ref().map(|release| format!(" ({release})")).unwrap_or_default();
    format!("{} {} | {result}{release} | {} | {} |", key(row), known(&shown.preemption), shown.seconds, shown.date)
}

/// The page with these rows in its table; all others stay as they are, and those that are in no matrix go.
///
/// # Errors
/// If the page has no place for the table.
pub fn with_rows(page: &str, matrix: &[Row], shown: &[(Row, Shown)]) -> anyhow::Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("docs/requirements.md has no place for the table")?;
    let Some((old, after)) = rest.split_once(END) else { bail!("docs/requirements.md has no end of the table") };
    let mut table = String::from(HEAD);
    for row in matrix {
        let is_it = |(shown, _): &&(Row, Shown)| key(shown) == key(row);
        let new = shown.iter().find(is_it).map(|(row, shown)| line(row, shown));
        let old = || old.lines().find(|line| line.starts_with(&key(row))).map(str::to_owned);
        table.push_str(&new.or_else(old).unwrap_or_else(|| format!("{} | not run yet | | |", key(row))));
        table.push('\n');
    }
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matrix;

    fn shown(result: &str, date: &str) -> Shown {
        let release = Some("6.12.1".to_owned());
        Shown { release, preemption: None, result: result.to_owned(), seconds: 61, date: date.to_owned() }
    }

    #[test]
    fn a_run_replaces_its_rows_and_leaves_the_others() {
        let rows = matrix::rows();
        let (first, second) = (rows[1], rows[2]);
        let page = format!("# Page\n\n{BEGIN}\n{END}\n\nMore.\n");
        let page = with_rows(&page, &rows, &[(second, shown("44 tests passed", "day one"))]).expect("a table");
        let page = with_rows(&page, &rows, &[(first, shown("FAILED: a|b", "day two"))]).expect("a table");
        let lines: Vec<&str> = page.lines().filter(|line| line.contains(" day ")).collect();
        assert_eq!(
            lines,
            [line(&first, &shown("FAILED: a|b", "day two")), line(&second, &shown("44 tests passed", "day one"))]
        );
        assert!(lines[0].contains("| unknown | FAILED: a\\|b (6.12.1) | 61 | day two |"), "{}", lines[0]);
        assert!(page.starts_with("# Page\n\n<!--") && page.ends_with("-->\n\nMore.\n"), "{page}");
        let same = with_rows(&page, &rows, &[]).expect("a table");
        assert_eq!(same, page, "what is not run stays");
        assert!(
            !with_rows(&page, &rows[2..], &[]).expect("a table").contains("day two"),
            "it is in the matrix no more"
        );
    }

    #[test]
    fn a_page_without_a_place_is_an_error() {
        assert!(with_rows("# Page\n", &matrix::rows(), &[]).is_err());
        assert!(with_rows(&format!("{BEGIN}\n"), &matrix::rows(), &[]).is_err());
    }
}
