//! Fits the projection: `… --example fit -- WEIGHTS projection.bin < LINES`; see
//! `fit-projection.sh`.
//!
//! Every other line is taken as a question, the others as passages. The axes are the eigenvectors
//! of the covariance with the greatest eigenvalues, found by Jacobi's rotations.

#![allow(
    clippy::print_stderr,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_range_loop
)]

use std::{io::BufRead, path::Path};

use e5::{
    encoder::Encoder,
    projection::{PROJECTED, UNPROJECTED},
};

const PREFIXES: [&str; 2] = ["query: ", "passage: "];
/// Sweeps of rotations; it has converged long before.
const SWEEPS: usize = 12;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().expect("arguments: WEIGHTS OUTPUT");
    let encoder = Encoder::load(Path::new(&argument())).expect("the weights can be read");
    let output = argument();
    let lines: Vec<String> =
        std::io::stdin().lock().lines().collect::<Result<_, _>>().expect("lines of UTF-8");
    let vectors: Vec<Vec<f64>> = lines
        .iter()
        .zip(PREFIXES.iter().cycle())
        .map(|(line, prefix)| {
            let vector = encoder.embed(&format!("{prefix}{line}"), encoder.tokens_max());
            vector.into_iter().map(f64::from).collect()
        })
        .collect();
    let count = vectors.len() as f64;
    let mean: Vec<f64> =
        (0..UNPROJECTED).map(|i| vectors.iter().map(|v| v[i]).sum::<f64>() / count).collect();
    let mut covariance = vec![vec![0.0; UNPROJECTED]; UNPROJECTED];
    for vector in &vectors {
        let centred: Vec<f64> = vector.iter().zip(&mean).map(|(x, mean)| x - mean).collect();
        for (row, x) in covariance.iter_mut().zip(&centred) {
            row.iter_mut().zip(&centred).for_each(|(sum, y)| *sum += x * y / count);
        }
    }
    let axes = principal_axes(covariance);
    let kept: f64 = axes.iter().take(PROJECTED).map(|(size, _)| size).sum();
    let all: f64 = axes.iter().map(|(size, _)| size).sum();
    eprintln!("{count} texts; {:.1} % of the variance is kept", 100.0 * kept / all);
    let axes = axes.into_iter().take(PROJECTED).flat_map(|(_, axis)| axis);
    let bytes: Vec<u8> =
        mean.into_iter().chain(axes).flat_map(|x| (x as f32).to_le_bytes()).collect();
    std::fs::write(output, bytes).expect("the output can be written");
}

/// Eigenvalues and eigenvectors of a symmetric matrix, the greatest first.
fn principal_axes(mut a: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let n = a.len();
    // Kept as rows, so that a rotation touches two of them.
    let mut axes: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect()).collect();
    for _ in 0..SWEEPS {
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q].abs() < 1e-18 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let cos = 1.0 / (t * t + 1.0).sqrt();
                let sin = t * cos;
                for k in 0..n {
                    (a[k][p], a[k][q]) =
                        (cos * a[k][p] - sin * a[k][q], sin * a[k][p] + cos * a[k][q]);
                }
                for k in 0..n {
                    (a[p][k], a[q][k]) =
                        (cos * a[p][k] - sin * a[q][k], sin * a[p][k] + cos * a[q][k]);
                    (axes[p][k], axes[q][k]) =
                        (cos * axes[p][k] - sin * axes[q][k], sin * axes[p][k] + cos * axes[q][k]);
                }
            }
        }
    }
    let mut sized: Vec<_> = axes.into_iter().enumerate().map(|(i, axis)| (a[i][i], axis)).collect();
    sized.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    sized
}
