//! Colour, where there is any.

use std::fmt::{self, Display};
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorChoice {
    /// Never.
    Never,
    /// Always.
    Always,
}

impl ColorChoice {
    /// Colour only on a terminal, and never with `NO_COLOR` (<https://no-color.org>) or on a `dumb` one.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if stream.is_terminal() && !set("NO_COLOR") && !dumb { Self::Always } else { Self::Never }
    }
}

/// What each kind of word looks like.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    pub(super) dim: Style,
    pub(super) bold: Style,
    pub(super) good: Style,
    pub(super) warning: Style,
    pub(super) bad: Style,
}

impl Palette {
    /// The styles, or none at all.
    pub fn new(choice: ColorChoice) -> Self {
        let plain = Style::new();
        match choice {
            ColorChoice::Never => Self { dim: plain, bold: plain, good: plain, warning: plain, bad: plain },
            ColorChoice::Always => Self {
                dim: plain.dimmed(),
                bold: plain.bold(),
                good: plain.fg_color(Some(AnsiColor::Green.into())),
                warning: plain.fg_color(Some(AnsiColor::Yellow.into())),
                bad: plain.bold().fg_color(Some(AnsiColor::Red.into())),
            },
        }
    }

    /// A heading.
    pub fn heading<T: Display>(&self, text: T) -> impl Display {
        Painted { style: self.bold, text }
    }

    /// Something that is as it should be.
    pub fn good<T: Display>(&self, text: T) -> impl Display {
        Painted { style: self.good, text }
    }

    /// Something that is worse than it could be.
    pub fn warning<T: Display>(&self, text: T) -> impl Display {
        Painted { style: self.warning, text }
    }

    /// Something that is wrong.
    pub fn bad<T: Display>(&self, text: T) -> impl Display {
        Painted { style: self.bad, text }
    }

    /// Something beside the point.
    pub fn dim<T: Display>(&self, text: T) -> impl Display {
        Painted { style: self.dim, text }
    }
}

struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.style.render(), self.text, self.style.render_reset())
    }
}
