//! Has the crate compiled again when the web UI was built: Cargo does not see the folder that
//! `web.rs` embeds.

fn main() {
    println!("cargo::rerun-if-changed=../../web/dist");
}
