//! From the network's 384 numbers to the 256 that are kept.
//!
//! The network's vectors all lie in one narrow cone, where cosines say little. The projection takes
//! their mean away and keeps the axes on which they differ most; that is smaller and finds more
//! (measured, see docs/memory.md). Mean and axes are fixed: `fit-projection.sh` beside the sources
//! says from what they were made.

use crate::encoder::normalise;

/// The length of a projected vector.
pub const PROJECTED: usize = 256;
/// The length of a vector before it.
pub const UNPROJECTED: usize = 384;
/// Of the mean and the axes: vectors of different ones must not be compared.
pub const VERSION: u32 = 1;

/// The mean, then the axes, the most telling first, as little-endian `f32`.
static FITTED: &[u8] = include_bytes!("projection.bin");

/// A mean to take away, and axes to keep.
pub struct ProjectionMatrix {
    mean: Vec<f32>,
    axes: Vec<f32>,
}

impl ProjectionMatrix {
    /// The one that is built in.
    pub fn built_in() -> Self {
        let mut numbers = FITTED.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        Self { mean: numbers.by_ref().take(UNPROJECTED).collect(), axes: numbers.collect() }
    }

    /// The vector on the axes, of length 1.
    pub fn apply(&self, vector: &[f32]) -> Vec<f32> {
        let centred: Vec<f32> = vector.iter().zip(&self.mean).map(|(x, mean)| x - mean).collect();
        let axes = self.axes.chunks_exact(UNPROJECTED);
        let mut projected: Vec<f32> =
            axes.map(|axis| axis.iter().zip(&centred).map(|(a, x)| a * x).sum()).collect();
        normalise(&mut projected);
        projected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_are_at_right_angles_and_of_length_1() {
        let projection = ProjectionMatrix::built_in();
        assert_eq!(projection.mean.len(), UNPROJECTED);
        let axes: Vec<_> = projection.axes.chunks(UNPROJECTED).collect();
        assert_eq!(axes.len(), PROJECTED);
        for (i, a) in axes.iter().enumerate() {
            for (j, b) in axes.iter().enumerate() {
                let product: f32 = a.iter().zip(*b).map(|(a, b)| a * b).sum();
                let want = if i == j { 1.0 } else { 0.0 };
                assert!((product - want).abs() < 1e-3, "{i} {j}: {product}");
            }
        }
    }
}
