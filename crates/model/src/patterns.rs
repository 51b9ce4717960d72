//! Names of models as tables have them: `<provider>/<model>`, with `*` at the end for any rest.

/// The value of the most exact pattern that fits a model's name: the name itself, else the longest.
pub(crate) fn most_exact<'a, T>(
    table: impl Iterator<Item = (&'a str, T)>,
    name: &str,
) -> Option<T> {
    table
        .filter(|(pattern, _)| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *pattern == name,
        })
        .max_by_key(|(pattern, _)| (!pattern.ends_with('*'), pattern.len()))
        .map(|(_, value)| value)
}
