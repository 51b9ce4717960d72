//! Named points at which a process can be made to die, so that the chaos tests find out what each
//! boundary leaves behind. They exist only with the feature `failpoints`; without it they are nothing.
//! Which points kill is not decided here.

/// Passes the point of this name: dies here, without unwinding, if the process was armed so.
#[cfg(feature = "failpoints")]
pub fn pass(name: &str) {
    fail::fail_point!(name, |_| {
        tracing::error!(point = name, "dies at a failpoint");
        std::process::abort()
    });
}

/// Passes the point of this name.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_name: &str) {}

/// Passes the point `name:which`, of one thing among many of its kind.
#[cfg(feature = "failpoints")]
pub fn pass_for(name: &str, which: impl std::fmt::Display) {
    pass(&format!("{name}:{which}"));
}

/// Passes the point `name:which`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass_for(_name: &str, _which: impl std::fmt::Display) {}

/// Whether a rule is switched off, so that the harness can show that it would be missed.
#[cfg(feature = "failpoints")]
pub fn is_off(rule: &str) -> bool {
    fail::fail_point!(rule, |_| true);
    false
}

/// Whether a rule is switched off: none is.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn is_off(_rule: &str) -> bool {
    false
}

/// Arms points, such as `after_claim=2*off->return;before_renew=3%return` (the language of the crate
/// `fail`; `return` is death, of a rule its end). Fails with what it cannot read.
#[cfg(feature = "failpoints")]
pub fn arm(points: &str) -> Result<(), String> {
    for point in points.split(';').filter(|point| !point.trim().is_empty()) {
        let (name, action) =
            point.split_once('=').ok_or_else(|| format!("`{point}` is not `point=action`"))?;
        fail::cfg(name.trim(), action)?;
    }
    Ok(())
}
