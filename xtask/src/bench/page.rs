//! `docs/performance.md`: its words are written by hand, its figures by `cargo xtask bench`.

use std::fs;

use anyhow::{Context, bail};

use crate::root;

const BEGIN: &str = "<!-- written by cargo xtask bench: begin -->";
const END: &str = "<!-- written by cargo xtask bench: end -->";

/// Puts these figures in the place of those that the page has.
pub fn write(figures: &str) -> anyhow::Result<()> {
    let path = root().join("docs/performance.md");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let Some(text) = replaced(&text, figures) else {
        bail!("{} has no place for the figures\nhint: it lies between {BEGIN} and {END}", path.display());
    };
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn replaced(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim()))
}

/// A table of the page: what is in the first column is named, all else is a figure.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = row(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    text.push_str(&row(&head.iter().enumerate().map(|(at, _)| rule(at)).collect::<Vec<_>>()));
    rows.iter().for_each(|cells| text.push_str(&row(cells)));
    text
}

fn rule(column: usize) -> String {
    if column == 0 { "---".to_owned() } else { "---:".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nz\n");
        assert_eq!(replaced(&page, "new\n"), Some(format!("a\n{BEGIN}\n\nnew\n\n{END}\nz\n")));
        assert_eq!(replaced("a", "new"), None);
        assert_eq!(table(&["a", "b"], &[vec!["c".into(), "1".into()]]), "| a | b |\n| --- | ---: |\n| c | 1 |\n");
    }
}
