//! Prints the vectors of lines: `cargo run --release -p e5 --example embed -- WEIGHTS < LINES`.
//!
//! Each line is taken as it is, so it begins with `query: ` or `passage: `. Each vector is written
//! as one line of JSON, before any projection; with `--tokens`, the tokens are. The time goes to
//! standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::expect_used)]

use std::{io::BufRead, path::Path, time::Instant};

use e5::encoder::Encoder;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("name the weights");
    let only_tokens = arguments.next().as_deref() == Some("--tokens");
    let begun = Instant::now();
    let encoder = Encoder::load(Path::new(&path)).expect("the weights can be read");
    eprintln!("loaded in {:.0?}", begun.elapsed());
    let mut durations = Vec::new();
    let mut tokens = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is UTF-8");
        let of_line = encoder.tokenizer().tokens(&line, encoder.tokens_max());
        tokens += of_line.len();
        if only_tokens {
            println!("{of_line:?}");
            continue;
        }
        let begun = Instant::now();
        let vector = encoder.embed(&line, encoder.tokens_max());
        durations.push(begun.elapsed());
        println!("{vector:?}");
    }
    durations.sort_unstable();
    let quantile = |part: usize| durations.get(durations.len() * part / 100).copied();
    eprintln!(
        "{} texts of {:.1} tokens, p50 {:.1?}, p95 {:.1?}, {:.1} texts a second",
        durations.len(),
        tokens as f64 / durations.len().max(1) as f64,
        quantile(50).unwrap_or_default(),
        quantile(95).unwrap_or_default(),
        durations.len() as f64 / durations.iter().sum::<std::time::Duration>().as_secs_f64(),
    );
}
