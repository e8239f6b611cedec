//! A comparison for people: one paragraph first, then how each side ends, then what else differs.

use std::io::{self, Write};

use super::compare::{Comparison, Difference, Done};
use crate::output::{self, Palette, shorten};
use crate::phrases::count;

/// How it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colours.
    pub palette: Palette,
    /// Columns of the terminal; `None` if it is none.
    pub width: Option<usize>,
    /// Ids are whole, and all differences are listed.
    pub wide: bool,
}

/// Differences that are listed beside the first.
const LISTED: usize = 10;

impl Style {
    fn short(&self, text: &str) -> String {
        if self.wide { text.to_owned() } else { shorten(text).into_owned() }
    }

    /// A text under a name in the margin.
    fn field(&self, out: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
        let first = format!("  {} ", self.palette.heading(format!("{name:<12}")));
        output::paragraph(out, &first, &" ".repeat(15), &self.short(text), output::columns(self.width))
    }

    /// Prints a comparison.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn comparison(&self, out: &mut dyn Write, comparison: &Comparison, good: &str, bad: &str) -> io::Result<()> {
        writeln!(out, "{} {good}", self.palette.heading("GOOD"))?;
        writeln!(out, "{} {bad}\n", self.palette.heading("BAD "))?;
        output::paragraph(out, "  ", "  ", &self.short(&comparison.paragraph), output::columns(self.width))?;
        let ends = [
            ("only in GOOD", &comparison.only_in_good),
            ("only in BAD", &comparison.only_in_bad),
            ("in both", &comparison.in_both),
        ];
        for (number, (name, texts)) in ends.iter().filter(|(_, texts)| !texts.is_empty()).enumerate() {
            if number == 0 {
                writeln!(out)?;
            }
            for (number, text) in texts.iter().enumerate() {
                self.field(out, if number == 0 { name } else { "" }, text)?;
            }
        }
        self.others(out, comparison)?;
        if !comparison.beside.is_empty() {
            writeln!(out)?;
        }
        for (number, text) in comparison.beside.iter().enumerate() {
            self.field(out, if number == 0 { "beside" } else { "" }, text)?;
        }
        Ok(())
    }

    fn others(&self, out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
        let listed = if self.wide { comparison.others.len() } else { LISTED.min(comparison.others.len()) };
        for Difference { who, container, hierarchies, good, bad, .. } in &comparison.others[..listed] {
            let of = container.as_ref().map(|container| format!(", container {container}")).unwrap_or_default();
            let alike = match hierarchies.len() {
                0 | 1 => String::new(),
                several => format!(", in {several} hierarchies"),
            };
            writeln!(out)?;
            self.field(out, "differs too", &format!("{who}{of}{alike}"))?;
            let told =
                |done: &Option<Done>| done.as_ref().map_or_else(|| "nothing, or nothing more".to_owned(), Done::told);
            self.field(out, "  in GOOD", &told(good))?;
            self.field(out, "  in BAD", &told(bad))?;
        }
        let more = (comparison.others.len() - listed) as u64 + comparison.others_left_out;
        match more {
            0 => Ok(()),
            more => writeln!(out, "\n  … and {}", count(more, "more difference", "more differences")),
        }
    }
}
