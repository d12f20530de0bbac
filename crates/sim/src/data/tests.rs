//! Scenes with real data nodes.

use super::chaos;

#[test]
fn a_few_seeds() {
    for seed in 1..=4 {
        let outcome = chaos::run(seed);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
    }
}
