//! The arithmetic: matrices of small integers, and what a layer does with rows of numbers.
//!
//! Everything is a loop over slices of equal length, which the compiler turns into vector
//! instructions. Where most of the time goes, it does so for several instruction sets, and the
//! machine's is chosen at run time; the results are the same on all.

use multiversion::multiversion;

use crate::weights::{BLOCK, BLOCK_BYTES};

/// Rows of a matrix that are multiplied at a time.
const ROWS: usize = 4;
/// The greatest value that a weight is stored as.
const WEIGHT_MAX: f32 = 127.0;
/// The greatest value that an activation is stored as: 1,536 products of it with a weight still fit
/// into 32 bits.
const ACTIVATION_MAX: f32 = 8191.0;
/// Added to a variance, so that no root is zero. Source: the model's configuration.
const EPSILON: f32 = 1e-12;

/// A matrix with as many rows as outputs, each row with a scale of its own, and a bias.
pub(crate) struct Linear {
    inputs: usize,
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// From the blocks of the file: `bias.len()` rows of `inputs` numbers.
    pub(crate) fn new(blocks: &[u8], inputs: usize, bias: Vec<f32>) -> Self {
        let mut weights = Vec::with_capacity(inputs * bias.len());
        let mut scales = Vec::with_capacity(bias.len());
        let mut row = vec![0.0; inputs];
        for blocks in blocks.chunks_exact(inputs / BLOCK * BLOCK_BYTES) {
            dequantised(blocks, &mut row);
            let scale = greatest(&row) / WEIGHT_MAX;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            weights.extend(row.iter().map(|weight| (weight * inverse).round() as i8));
            scales.push(scale);
        }
        Self { inputs, weights, scales, bias }
    }

    /// The outputs for each row of the input.
    pub(crate) fn apply(&self, input: &Quantised) -> Vec<f32> {
        let outputs = self.bias.len();
        let mut all = vec![0.0; input.scales.len() * outputs];
        let mut wide = vec![0i16; ROWS * self.inputs];
        let scales_and_biases = self.scales.chunks(ROWS).zip(self.bias.chunks(ROWS));
        let groups = self.weights.chunks(ROWS * self.inputs).zip(scales_and_biases);
        for (group, (weights, (scales, bias))) in groups.enumerate() {
            // Widened once for all tokens.
            wide.iter_mut().zip(weights).for_each(|(wide, weight)| *wide = i16::from(*weight));
            let mut rows = wide.chunks_exact(self.inputs);
            let rows = [(); ROWS].map(|()| rows.next().unwrap_or_default());
            let tokens = input.values.chunks_exact(self.inputs).zip(&input.scales);
            for ((token, token_scale), output) in tokens.zip(all.chunks_exact_mut(outputs)) {
                let output = output.iter_mut().skip(group * ROWS).zip(products(rows, token));
                for (((output, sum), scale), bias) in output.zip(scales).zip(bias) {
                    *output = sum as f32 * (scale * token_scale) + bias;
                }
            }
        }
        all
    }
}

/// Some rows of a matrix with one token, multiplied and summed.
#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2+fma"))]
fn products([a, b, c, d]: [&[i16]; ROWS], token: &[i16]) -> [i32; ROWS] {
    let mut sums = [0i32; ROWS];
    let [sum_a, sum_b, sum_c, sum_d] = &mut sums;
    for ((((x, a), b), c), d) in token.iter().zip(a).zip(b).zip(c).zip(d) {
        let x = i32::from(*x);
        *sum_a += x * i32::from(*a);
        *sum_b += x * i32::from(*b);
        *sum_c += x * i32::from(*c);
        *sum_d += x * i32::from(*d);
    }
    sums
}

/// Rows of activations as integers, each row with a scale of its own.
pub(crate) struct Quantised {
    values: Vec<i16>,
    scales: Vec<f32>,
}

impl Quantised {
    pub(crate) fn new(values: &[f32], width: usize) -> Self {
        let mut quantised = Self {
            values: vec![0; values.len()],
            scales: Vec::with_capacity(values.len() / width),
        };
        for (to, row) in quantised.values.chunks_exact_mut(width).zip(values.chunks_exact(width)) {
            let greatest = greatest(row);
            let inverse = if greatest > 0.0 { ACTIVATION_MAX / greatest } else { 0.0 };
            to.iter_mut().zip(row).for_each(|(to, x)| *to = rounded(x * inverse) as i16);
            quantised.scales.push(greatest / ACTIVATION_MAX);
        }
        quantised
    }
}

/// The numbers of some blocks.
pub(crate) fn dequantised(blocks: &[u8], numbers: &mut [f32]) {
    let (blocks, _) = blocks.as_chunks::<BLOCK_BYTES>();
    let (numbers, _) = numbers.as_chunks_mut::<BLOCK>();
    for ([low, high, halves @ ..], numbers) in blocks.iter().zip(numbers) {
        let scale = from_half(u16::from_le_bytes([*low, *high]));
        let (first, second) = numbers.split_at_mut(BLOCK / 2);
        for ((byte, first), second) in halves.iter().zip(first).zip(second) {
            *first = (f32::from(byte & 15) - 8.0) * scale;
            *second = (f32::from(byte >> 4) - 8.0) * scale;
        }
    }
}

/// IEEE half precision. Infinite and NaN do not occur in weights.
fn from_half(half: u16) -> f32 {
    let (exponent, fraction) = (half >> 10 & 31, f32::from(half & 1023));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        _ => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    };
    if half >> 15 == 0 { size } else { -size }
}

fn greatest(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |greatest, x| if x.abs() > greatest { x.abs() } else { greatest })
}

/// Adds to each row of `rows` that of `more`, then sets its mean to 0 and its variance to 1, times
/// `weight`, plus `bias`.
pub(crate) fn add_and_normalise(rows: &mut [f32], more: &[f32], weight: &[f32], bias: &[f32]) {
    let width = weight.len();
    for (row, more) in rows.chunks_exact_mut(width).zip(more.chunks_exact(width)) {
        row.iter_mut().zip(more).for_each(|(x, more)| *x += more);
        let mean = sum(row.iter().copied()) / width as f32;
        row.iter_mut().for_each(|x| *x -= mean);
        let variance = sum(row.iter().map(|x| x * x)) / width as f32;
        let inverse = 1.0 / (variance + EPSILON).sqrt();
        for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *x = *x * inverse * weight + bias;
        }
    }
}

fn sum(numbers: impl Iterator<Item = f32>) -> f32 {
    numbers.sum()
}

/// Each token looks at all others: for each head, the mean of `values`, weighted by how well `keys`
/// answer `queries`.
#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2+fma"))]
pub(crate) fn attention(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    width: usize,
    heads: usize,
) -> Vec<f32> {
    let (tokens, head_width) = (queries.len() / width, width / heads);
    let scale = 1.0 / (head_width as f32).sqrt();
    let mut output = vec![0.0; queries.len()];
    let mut columns = vec![0.0; head_width * tokens];
    let mut weights = vec![0.0; tokens];
    for head in 0..heads {
        let part = head * head_width..(head + 1) * head_width;
        for (token, key) in keys.chunks_exact(width).enumerate() {
            let key = key.get(part.clone()).unwrap_or_default();
            let column = columns.iter_mut().skip(token).step_by(tokens);
            column.zip(key).for_each(|(to, x)| *to = *x);
        }
        for (query, output) in queries.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
            let query = query.get(part.clone()).unwrap_or_default();
            weights.fill(0.0);
            for (x, column) in query.iter().zip(columns.chunks_exact(tokens)) {
                add_scaled(&mut weights, x * scale, column);
            }
            softmax(&mut weights);
            let output = output.get_mut(part.clone()).unwrap_or_default();
            for (weight, value) in weights.iter().zip(values.chunks_exact(width)) {
                add_scaled(output, *weight, value.get(part.clone()).unwrap_or_default());
            }
        }
    }
    output
}

fn add_scaled(to: &mut [f32], factor: f32, more: &[f32]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to += factor * more);
}

fn softmax(numbers: &mut [f32]) {
    let greatest = numbers.iter().copied().fold(f32::MIN, f32::max);
    numbers.iter_mut().for_each(|x| *x = exp(*x - greatest));
    let inverse = 1.0 / sum(numbers.iter().copied());
    numbers.iter_mut().for_each(|x| *x *= inverse);
}

/// `x·Φ(x)`, with the error function of Abramowitz and Stegun, 7.1.26 (error below 1.5e-7).
pub(crate) fn gelu(numbers: &mut [f32]) {
    for x in numbers {
        let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let t = 1.0 / (1.0 + 0.327_591_1 * z);
        let polynomial = t
            * (0.254_829_6
                + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4))));
        let error_function = (1.0 - polynomial * exp(-z * z)).copysign(*x);
        *x = 0.5 * *x * (1.0 + error_function);
    }
}

/// Adding and subtracting it rounds a number below 2²² to the nearest integer.
const ROUNDING: f32 = 12_582_912.0;

fn rounded(x: f32) -> f32 {
    (x + ROUNDING) - ROUNDING
}

/// eˣ without a call, so that a loop over it stays a loop over vectors; wrong by less than 1e-6 of
/// the result. It is 2ⁿ·eʳ with a small r, whose power is a short series.
fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let series = 1.0
        + r * (1.0
            + r * (0.5
                + r * (0.166_666_67 + r * (0.041_666_67 + r * (0.008_333_34 + r * 0.001_388_89)))));
    let exponent = shifted.to_bits().wrapping_sub(ROUNDING.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_gelu_are_exact_enough() {
        for step in -800..=800 {
            let x = step as f32 / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 2e-6, "{x}: {} {}", exp(x), x.exp());
        }
        let check = |x: f32, want: f32| {
            let mut numbers = [x];
            gelu(&mut numbers);
            assert!((numbers[0] - want).abs() < 1e-6, "{x}: {} {want}", numbers[0]);
        };
        check(0.0, 0.0);
        check(1.0, 0.841_344_8);
        check(-1.0, -0.158_655_26);
        check(3.0, 2.995_950_3);
        check(-10.0, 0.0);
    }

    #[test]
    fn halves_are_read() {
        let check = |half: u16, want: f32| assert_eq!(from_half(half), want);
        check(0x3c00, 1.0);
        check(0xc000, -2.0);
        check(0x3555, 0.333_251_95);
        check(0x0001, 5.960_464_5e-8);
        check(0x8000, 0.0);
    }

    #[test]
    fn a_matrix_multiplies() {
        // One block a row; the scale 1; the numbers -8…7 and back.
        let halves: Vec<u8> = (0..16).map(|n| n | (15 - n) << 4).collect();
        let row: Vec<u8> = [0x00, 0x3c].into_iter().chain(halves).collect();
        let blocks = row.repeat(5);
        let linear = Linear::new(&blocks, BLOCK, vec![0.0, 1.0, 2.0, 3.0, 4.0]);
        let input: Vec<f32> = (0..64).map(|n| n as f32 / 10.0).collect();
        let output = linear.apply(&Quantised::new(&input, BLOCK));
        let weights: Vec<f32> = (-8..8).chain((-8..8).rev()).map(|n| n as f32).collect();
        for (row, output) in input.chunks(BLOCK).zip(output.chunks(5)) {
            let sum: f32 = row.iter().zip(&weights).map(|(x, weight)| x * weight).sum();
            for (at, output) in output.iter().enumerate() {
                assert!((output - sum - at as f32).abs() < 0.15, "{at}: {output} {sum}");
            }
        }
    }
}
