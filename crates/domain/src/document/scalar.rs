//! What a plain YAML scalar is: the core schema of YAML 1.2, in which `1e-5` is a number and `no` is text.

use super::Kind;

/// What the unquoted `text` stands for.
pub fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => match int(text) {
            Some(number) => Kind::Int(number),
            None => float(text).map_or_else(|| Kind::Str { text: text.to_owned(), plain: true }, Kind::Float),
        },
    }
}

/// `12`, `-3`, `0o17`, `0xff`; `None` beyond 128 bits.
pub fn int(text: &str) -> Option<i128> {
    let digits = |digits: &str, radix: u32| {
        let proper = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        proper.then(|| i128::from_str_radix(digits, radix).ok()).flatten()
    };
    match text.strip_prefix("0o").map(|octal| (octal, 8)).or(text.strip_prefix("0x").map(|hex| (hex, 16))) {
        Some((rest, radix)) => digits(rest, radix),
        None => match text.strip_prefix('-') {
            Some(rest) => digits(rest, 10).map(|number| -number),
            None => digits(text.strip_prefix('+').unwrap_or(text), 10),
        },
    }
}

/// `1.5`, `.5`, `1.`, `1e-5`, `-.inf`, `.nan`; whole numbers too.
pub fn float(text: &str) -> Option<f64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let signed = |number: f64| if negative { -number } else { number };
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(signed(f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_is_proper = all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_is_proper = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    (mantissa_is_proper && exponent_is_proper).then(|| unsigned.parse().ok().map(signed)).flatten()
}

/// The number that `text` is in YAML 1.1, TOML or Python, though YAML 1.2 reads it as text: `1_000`.
pub fn underscored(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let is_number = text.contains('_') && text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    (is_number && float(&plain).is_some()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        for (text, number) in [("1e-5", 1e-5), ("1.", 1.0), (".5", 0.5), ("-1.5E+3", -1500.0), ("1e5", 1e5)] {
            assert_eq!(resolve(text), Kind::Float(number), "{text}");
        }
        for (text, number) in [("12", 12), ("-3", -3), ("+4", 4), ("0o17", 15), ("0xff", 255), ("007", 7)] {
            assert_eq!(resolve(text), Kind::Int(number), "{text}");
        }
        assert_eq!(resolve("-.inf"), Kind::Float(f64::NEG_INFINITY));
        assert!(matches!(resolve(".nan"), Kind::Float(x) if x.is_nan()));
    }

    #[test]
    fn what_only_looks_like_something_else_stays_text() {
        for text in [
            "no", "off", "yes", "on", "y", "1_000", "1e", "e5", ".", "-", "+-5", "0x", "0o8", "1.2.3", "inf", "nan",
            "12:30",
        ] {
            assert_eq!(resolve(text), Kind::Str { text: text.into(), plain: true }, "{text}");
        }
        assert_eq!(underscored("1_000").as_deref(), Some("1000"));
        assert_eq!(underscored("1_0e-3").as_deref(), Some("10e-3"));
        assert_eq!(underscored("layer_1"), None);
        assert_eq!(underscored("_1"), None);
    }
}
