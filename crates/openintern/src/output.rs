//! The only place that writes to the terminal: data to stdout, messages to stderr.
//!
//! Styles are dropped where they would not be understood (`NO_COLOR`, a pipe, `TERM=dumb`). When
//! the reader of stdout has gone, writing returns [`Abort::OutputClosed`], which ends the command
//! quietly.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::exit::{Abort, Exit, Failure};

/// Faint, for details.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// For success.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// For warnings.
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
/// For errors.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

const COLUMN_GAP: &str = "  ";

/// Text with a style, for use in a line.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Standard output, as this command uses it.
pub(crate) struct Output {
    /// Columns of the terminal; none where stdout is no terminal, and nothing is cut.
    width: Option<usize>,
}

impl Output {
    pub(crate) fn new() -> Self {
        let width = io::stdout()
            .is_terminal()
            .then(|| terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)));
        Self { width }
    }

    /// One line, which may hold styles of ours.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Abort> {
        written(writeln!(anstream::stdout().lock(), "{text}"))
    }

    /// Text that others wrote, as it is and at once; on a terminal, without control sequences.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Abort> {
        let mut stdout = io::stdout().lock();
        let harmless = if self.is_terminal() { without_controls(text) } else { text.into() };
        written(stdout.write_all(harmless.as_bytes()).and_then(|()| stdout.flush()))
    }

    /// A value for machines: JSON on one line, or indented on a terminal.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Abort> {
        let text = if self.is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        let text = text.map_err(|error| Failure::from_error(Exit::Failed, &error))?;
        self.text(&(text + "\n"))
    }

    /// Rows in columns. On a terminal: under a header, the last column cut to fit. Elsewhere: whole
    /// values between tabs, without a header.
    pub(crate) fn table<const N: usize>(
        &mut self,
        header: [&str; N],
        rows: &[[String; N]],
    ) -> Result<(), Abort> {
        let Some(width) = self.width else {
            let line = |row: &[String; N]| row.each_ref().map(|cell| one_line(cell)).join("\t");
            return rows.iter().try_for_each(|row| self.text(&(line(row) + "\n")));
        };
        let header = header.map(str::to_owned);
        let widths: Vec<usize> = (0..N)
            .map(|column| {
                let cells = rows.iter().chain([&header]).filter_map(|row| row.get(column));
                cells.map(|cell| one_line(cell).width()).max().unwrap_or(0)
            })
            .collect();
        for (index, row) in [&header].into_iter().chain(rows).enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &without_controls(&one_line(cell));
                if column + 1 < N {
                    line += &" ".repeat(width.saturating_sub(one_line(cell).width()));
                    line += COLUMN_GAP;
                }
            }
            let line = cut(&line, width);
            self.line(&if index == 0 { styled(FAINT, line) } else { line })?;
        }
        Ok(())
    }

    /// One thing: the names of its fields, and their whole values.
    pub(crate) fn fields(&mut self, rows: &[[String; 2]]) -> Result<(), Abort> {
        let width = rows.iter().map(|[name, _]| name.width()).max().unwrap_or(0);
        for [name, value] in rows {
            let pad = " ".repeat(width.saturating_sub(name.width()));
            let head = styled(FAINT, name);
            written(write!(anstream::stdout().lock(), "{head}{pad}{COLUMN_GAP}"))?;
            self.text(&format!("{value}\n"))?;
        }
        Ok(())
    }

    /// `text` on one line, cut where a terminal would break it when `used` columns are taken.
    pub(crate) fn fit(&self, text: &str, used: usize) -> String {
        let line = one_line(text);
        match self.width {
            Some(width) => cut(&without_controls(&line), width.saturating_sub(used).max(20)),
            None => line,
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.width.is_some()
    }
}

/// A line on standard error, which may hold styles of ours. It may fail: nobody may be reading.
pub(crate) fn say(text: &str) {
    writeln!(anstream::stderr().lock(), "{text}").ok();
}

/// An error, in up to three lines.
pub(crate) fn say_failure(failure: &Failure) {
    say(&format!("{}: {}", styled(BAD, "error"), failure.message));
    if let Some(hint) = &failure.hint {
        say(&format!("hint: {hint}"));
    }
    if let Some(request_id) = &failure.request_id {
        say(&format!("request: {request_id}"));
    }
}

fn written(result: io::Result<()>) -> Result<(), Abort> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Abort::OutputClosed,
        _ => Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")).into(),
    })
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r', '\t']).map(str::trim_end).collect::<Vec<_>>().join(" ")
}

fn without_controls(text: &str) -> String {
    let steers = |letter: &char| letter.is_control() && !matches!(letter, '\n' | '\t');
    text.chars().filter(|letter| !steers(letter)).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.trim_end().to_owned();
    }
    let mut used = 1; // the ellipsis
    let fits = |letter: &char| {
        used += letter.width().unwrap_or(0);
        used <= width
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_counts_columns_not_characters() {
        let check = |text: &str, width, want: &str| assert_eq!(cut(text, width), want);
        check("abc", 3, "abc");
        check("abcd", 3, "ab…");
        check("中文字符", 8, "中文字符");
        check("中文字符", 7, "中文字…");
        check("中文字符", 6, "中文…");
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(without_controls("a\u{1b}[31mb\u{7}\n\tc"), "a[31mb\n\tc");
        assert_eq!(one_line("a\r\nb\tc"), "a  b c");
    }
}
