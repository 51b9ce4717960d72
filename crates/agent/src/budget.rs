//! What one model call may use at most, by the run's own bounds and the model's price. Pure; the
//! organisation's daily budget is checked elsewhere, with the figures from here.

use model::{
    chat::ChatRequest,
    models::{ModelList, Models},
    prices::Price,
};
use protocol::{
    message::Usage,
    run::{RunError, RunErrorCode, RunLimits},
};
use store::budgets::Amount;

/// Most tokens of an answer where there is a budget and no other limit on its length.
const ANSWER_TOKENS: u32 = 4_096;
/// With fewer tokens left than this no answer is requested: its end would be missing.
const ANSWER_MIN_TOKENS: u32 = 256;
/// By which part a prompt may have more tokens than estimated: see [`model::tokens`].
const PROMPT_MARGIN: u64 = 3;

/// Limits the answer to what is left of a run's own bounds, and says what the call may use at most,
/// whichever model of the list gives the answer.
pub(crate) fn bound(
    models: &Models,
    list: &ModelList,
    limits: &RunLimits,
    spent: Amount,
    request: &mut ChatRequest,
) -> Result<Amount, RunError> {
    let estimate = request.estimated_tokens();
    let prices = list.iter().filter_map(|model| models.price(model));
    let price = prices.fold(FREE, dearest);
    let prompt_tokens = estimate + estimate.div_ceil(PROMPT_MARGIN);
    let wanted = request.max_tokens.unwrap_or(ANSWER_TOKENS);
    let answer_tokens = answer_tokens(limits, spent, price, prompt_tokens, wanted)?;
    request.max_tokens = Some(answer_tokens);
    let usage = Usage::new(prompt_tokens, answer_tokens.into(), 0);
    Ok(Amount { tokens: usage.total_tokens, cost_usd: price.cost_usd(&usage) })
}

/// A model whose price is unknown.
const FREE: Price = Price { input: 0.0, cached_input: None, output: 0.0 };

/// The larger of both, part by part. What may come from a cache is not counted on.
fn dearest(one: Price, other: Price) -> Price {
    Price {
        input: one.input.max(other.input),
        cached_input: None,
        output: one.output.max(other.output),
    }
}

/// How long the answer may be by the run's own bounds: as long as requested, or what is left.
fn answer_tokens(
    limits: &RunLimits,
    spent: Amount,
    price: Price,
    prompt_tokens: u64,
    wanted: u32,
) -> Result<u32, RunError> {
    let over = |code, message| Err(RunError { code, message });
    let needed = u64::from(wanted.min(ANSWER_MIN_TOKENS));
    let mut answer_tokens = u64::from(wanted);
    if let Some(most) = limits.max_tokens {
        let left = most.saturating_sub(spent.tokens).saturating_sub(prompt_tokens);
        if left < needed {
            return over(
                RunErrorCode::TokenLimit,
                format!(
                    "`max_tokens` = {most} would be exceeded: {} are used, and the next call may \
                     need {prompt_tokens} for its prompt alone",
                    spent.tokens
                ),
            );
        }
        answer_tokens = answer_tokens.min(left);
    }
    if let Some(most) = limits.max_cost_usd {
        let prompt_usd = price.cost_usd(&Usage::new(prompt_tokens, 0, 0));
        let left_usd = most - spent.cost_usd - prompt_usd;
        let usd = |tokens: u64| price.cost_usd(&Usage::new(0, tokens, 0));
        if left_usd < usd(needed) {
            return over(
                RunErrorCode::CostLimit,
                format!(
                    "`max_cost_usd` = {most} would be exceeded: {:.6} are spent, and the next call \
                     may cost {prompt_usd:.6} for its prompt alone",
                    spent.cost_usd
                ),
            );
        }
        if price.output > 0.0 {
            // Whole tokens, rounded down: a cast of a number that is not negative.
            answer_tokens = answer_tokens.min((left_usd * 1e6 / price.output) as u64);
        }
    }
    Ok(u32::try_from(answer_tokens).unwrap_or(wanted))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(limits: RunLimits, wanted: u32, expected: Expect) {
        let spent = Amount { tokens: 1_000, cost_usd: 0.01 };
        let price = Price { input: 1.0, cached_input: None, output: 10.0 };
        let told = match answer_tokens(&limits, spent, price, 2_000, wanted) {
            Ok(tokens) => tokens.to_string(),
            Err(error) => format!("{:?}: {}", error.code, error.message),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn the_dearest_of_each_part_is_reserved() {
        let price = |input, output| Price { input, cached_input: Some(0.1), output };
        let both = [price(1.0, 8.0), price(2.0, 4.0)].into_iter().fold(FREE, dearest);
        assert_eq!(both, Price { input: 2.0, cached_input: None, output: 8.0 });
    }

    #[test]
    fn an_answer_is_as_long_as_the_run_can_pay_for() {
        let none = RunLimits::default();
        let tokens = |most| RunLimits { max_tokens: Some(most), ..none };
        let usd = |most| RunLimits { max_cost_usd: Some(most), ..none };
        check(none, 4_096, expect!["4096"]);
        check(tokens(100_000), 4_096, expect!["4096"]);
        check(tokens(3_500), 4_096, expect!["500"]);
        check(tokens(3_256), 4_096, expect!["256"]);
        check(
            tokens(3_255),
            4_096,
            expect![
                "TokenLimit: `max_tokens` = 3255 would be exceeded: 1000 are used, and the next call may need 2000 for its prompt alone"
            ],
        );
        check(tokens(3_010), 10, expect!["10"]);
        check(
            tokens(500),
            10,
            expect![
                "TokenLimit: `max_tokens` = 500 would be exceeded: 1000 are used, and the next call may need 2000 for its prompt alone"
            ],
        );
        check(usd(1.0), 4_096, expect!["4096"]);
        check(usd(0.017), 4_096, expect!["500"]);
        check(
            usd(0.013),
            4_096,
            expect![
                "CostLimit: `max_cost_usd` = 0.013 would be exceeded: 0.010000 are spent, and the next call may cost 0.002000 for its prompt alone"
            ],
        );
    }
}
