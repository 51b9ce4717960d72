//! Numerals of texts as numbers: `十五`, `二〇二三`, `三百零五`, `twelve`.

/// What matches digits and Chinese numerals in a regular expression.
pub(crate) const NUMERAL: &str = "[0-9]{1,4}|[零〇一二三四五六七八九十百千廿卅两]{1,7}";
/// What matches digits and English words of number.
pub(crate) const COUNT: &str = r"[0-9]{1,4}|(?:a\s+)?couple(?:\s+of)?|an?|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[-\s]+(?:one|two|three|four|five|six|seven|eight|nine))?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen";

const DIGITS: &str = "一二三四五六七八九";

/// What digits or a Chinese numeral say.
pub(crate) fn numeral(text: &str) -> Option<i32> {
    text.parse().ok().or_else(|| chinese(text))
}

/// What digits or English words say; `a` is one.
pub(crate) fn count(text: &str) -> Option<i32> {
    const ONES: [&str; 19] = [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] =
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let word = |text: &str| {
        let at = |words: &[&str]| words.iter().position(|word| *word == text);
        let ones = at(&ONES).map(|at| at + 1);
        ones.or_else(|| at(&TENS).map(|at| 10 * (at + 2)))
            .and_then(|count| i32::try_from(count).ok())
    };
    match text {
        "a" | "an" => Some(1),
        text if text.contains("couple") => Some(2),
        text => text
            .parse()
            .ok()
            .or_else(|| text.split(['-', ' ']).filter(|part| !part.is_empty()).map(word).sum()),
    }
}

/// `三四` and `两三`: from one number to the next, not thirty-four.
pub(crate) fn numeral_range(text: &str) -> Option<(i32, i32)> {
    let mut digits = text.chars().map(digit);
    match (digits.next()??, digits.next()??, digits.next()) {
        (first, last, None) if (1..=2).contains(&(last - first)) && first > 0 => {
            Some((first, last))
        }
        _ => None,
    }
}

/// With units (`三百零五`), or digit by digit (`二〇二三`).
fn chinese(text: &str) -> Option<i32> {
    let has_units = text.contains(|c| "十百千万廿卅".contains(c));
    if text.is_empty() || text.chars().count() > 9 {
        return None;
    }
    if !has_units {
        return text.chars().try_fold(0_i32, |sum, c| sum.checked_mul(10)?.checked_add(digit(c)?));
    }
    let (mut sum, mut last) = (0_i32, 0);
    for c in text.chars() {
        let unit = match c {
            '十' => 10,
            '百' => 100,
            '千' => 1_000,
            '万' => {
                (sum, last) = ((sum + last).checked_mul(10_000)?, 0);
                continue;
            }
            '廿' | '卅' => {
                sum += if c == '廿' { 20 } else { 30 };
                continue;
            }
            c => {
                last = digit(c)?;
                continue;
            }
        };
        // `十五` is fifteen: before ten, one is not said.
        sum += unit * if last == 0 { 1 } else { last };
        last = 0;
    }
    Some(sum + last)
}

fn digit(c: char) -> Option<i32> {
    match c {
        '零' | '〇' => Some(0),
        '两' => Some(2),
        c => DIGITS.chars().zip(1..).find(|(each, _)| *each == c).map(|(_, digit)| digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerals_are_numbers() {
        let check = |text: &str, want: Option<i32>| assert_eq!(numeral(text), want, "{text}");
        check("7", Some(7));
        check("七", Some(7));
        check("十", Some(10));
        check("十五", Some(15));
        check("二十", Some(20));
        check("二十一", Some(21));
        check("廿三", Some(23));
        check("卅", Some(30));
        check("两百", Some(200));
        check("三百零五", Some(305));
        check("一千二百", Some(1_200));
        check("三万五千", Some(35_000));
        check("二〇二三", Some(2023));
        check("", None);
        check("茶", None);
        check("九九九九九九九九九九九九", None);
        assert_eq!(
            ["三四", "两三", "三五"].map(numeral_range),
            [Some((3, 4)), Some((2, 3)), Some((3, 5))]
        );
        assert_eq!(["三", "二一", "三四五", "十五", "34"].map(numeral_range), [None; 5]);
        assert_eq!(
            ["a", "two", "a couple of", "12", "nineteen", "thirty", "twenty-one", "tea"].map(count),
            [Some(1), Some(2), Some(2), Some(12), Some(19), Some(30), Some(21), None]
        );
    }
}
