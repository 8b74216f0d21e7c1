//! As much of XML as answers of S3 have: elements with a text and nothing else in them.

/// The texts of all elements of this name, in order.
pub fn values(document: &str, element: &str) -> Vec<String> {
    let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
    let mut found = Vec::new();
    let mut rest = document;
    while let Some((_, after)) = rest.split_once(&begin) {
        let Some((text, after)) = after.split_once(&end) else { break };
        found.push(unescaped(text));
        rest = after;
    }
    found
}

/// A text as it stands in an element.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> String {
    let mut pieces = text.split('&');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once(';').and_then(|(name, rest)| Some((character(name)?, rest))) {
            Some((character, rest)) => {
                plain.push(character);
                plain.push_str(rest);
            }
            // Nothing that it could mean: as it is.
            None => {
                plain.push('&');
                plain.push_str(piece);
            }
        }
    }
    plain
}

fn character(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let digits = name.strip_prefix('#')?;
            let hexadecimal = digits.strip_prefix('x').map(|digits| u32::from_str_radix(digits, 16));
            char::from_u32(hexadecimal.unwrap_or_else(|| digits.parse()).ok()?)?
        }
    })
}

/// What an answer says for people: its code and message, or its first line or so.
pub fn beginning(text: &str) -> String {
    let said: Vec<String> =
        ["Code", "Message"].iter().filter_map(|name| values(text, name).into_iter().next()).collect();
    let text = if said.is_empty() { text } else { &said.join(": ") };
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_elements_are_found_in_order_and_mean_what_they_say() {
        let list = "<List><Key>a/b</Key><Size>1</Size><Key>R&amp;D &lt;1&gt; &#252;&#x2F;&quot;</Key><Key/><Key>cut";
        assert_eq!(values(list, "Key"), ["a/b", "R&D <1> ü/\""]);
        assert_eq!(values(list, "Prefix"), [""; 0]);
        assert_eq!(values("<K>&unknown; & &#xFFFFFFFF;</K>", "K"), ["&unknown; & &#xFFFFFFFF;"]);
        let refused = "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
        assert_eq!(
            (beginning(refused).as_str(), beginning(" no\n XML").as_str()),
            ("AccessDenied: Access Denied.", "no XML")
        );
        assert_eq!(values(&format!("<K>{}</K>", escaped("\"a&b<c>\"")), "K"), ["\"a&b<c>\""]);
    }
}
