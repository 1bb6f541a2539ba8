//! Who is who: the pairs whose weights sum up to the most.

use pathfinding::prelude::{Matrix, kuhn_munkres};

/// Weights become whole numbers, whose sums do not depend on their order: ties always fall the same way.
const STEPS_IN_ONE: f64 = 1e6;

/// The best pairs of a row and a column, each in at most one, in the order of the rows. `weight` is from 0 to 1; pairs
/// of weight 0 or of None are never chosen.
pub fn best_pairs(
    rows: usize,
    columns: usize,
    weight: impl Fn(usize, usize) -> Option<f64>,
) -> Vec<(usize, usize)> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let weight = |row, column| {
        let weight = weight(row, column).unwrap_or(0.0);
        (weight * STEPS_IN_ONE).round() as i64
    };
    // The algorithm wants at least as many columns as rows.
    let is_upright = rows <= columns;
    let weights = if is_upright {
        Matrix::from_fn(rows, columns, |(row, column)| weight(row, column))
    } else {
        Matrix::from_fn(columns, rows, |(column, row)| weight(row, column))
    };
    let (_, chosen) = kuhn_munkres(&weights);
    let mut pairs: Vec<_> = chosen
        .into_iter()
        .enumerate()
        .filter(|&pair| weights[pair] > 0)
        .map(|(a, b)| if is_upright { (a, b) } else { (b, a) })
        .collect();
    pairs.sort_unstable();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sum_counts_not_the_first_best() {
        let weights = [[0.9, 0.8, 0.0], [0.8, 0.0, 0.0]];
        let pairs = best_pairs(2, 3, |row, column| Some(weights[row][column]));
        assert_eq!(pairs, [(0, 1), (1, 0)]);
    }

    #[test]
    fn strangers_stay_alone() {
        assert_eq!(best_pairs(2, 2, |_, _| None), []);
        assert_eq!(best_pairs(0, 5, |_, _| Some(1.0)), []);
    }

    /// The largest sum of weights, by trying everything.
    fn best_sum(weights: &[Vec<u32>], used: u32) -> u32 {
        let Some((row, rest)) = weights.split_first() else {
            return 0;
        };
        let taken = row.iter().enumerate();
        let free = taken.filter(|(column, _)| used & (1 << column) == 0);
        free.map(|(column, weight)| weight + best_sum(rest, used | (1 << column)))
            .chain([best_sum(rest, used)])
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_other_choice_is_better(
            (rows, columns, weights) in (1_usize..6, 1_usize..6).prop_flat_map(|(rows, columns)| {
                let cell = prop_oneof![Just(0_u32), 1_u32..20];
                let table = prop::collection::vec(prop::collection::vec(cell, columns), rows);
                (Just(rows), Just(columns), table)
            })
        ) {
            let pairs = best_pairs(rows, columns, |r, c| Some(f64::from(weights[r][c]) / 20.0));
            let sum: u32 = pairs.iter().map(|&(r, c)| weights[r][c]).sum();
            prop_assert_eq!(sum, best_sum(&weights, 0));
            for (at, a) in pairs.iter().enumerate() {
                prop_assert!(weights[a.0][a.1] > 0);
                prop_assert!(pairs[at + 1..].iter().all(|b| a.0 != b.0 && a.1 != b.1));
            }
        }
    }
}
