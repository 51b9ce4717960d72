//! Makes text from a server safe to show: bounded, and without characters that could hide a part of it.

/// Cuts at a character, so that at most `max_bytes` remain.
pub(crate) fn cut(text: &mut String, max_bytes: usize) {
    text.truncate(text.floor_char_boundary(max_bytes));
}

/// The text without control and direction characters, which could hide a part of it from a person.
pub(crate) fn printable(text: &str, max_bytes: usize) -> String {
    let mut text: String =
        text.chars().filter(|&c| matches!(c, '\n' | '\t') || !hides(c)).collect();
    cut(&mut text, max_bytes);
    text
}

fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
