#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

/// Whether the whole text is one value.
fn is_json(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.value().is_ok() && scanner.finish().is_ok()
}

/// What another parser says, which reads what we step over.
fn others_say(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok()
}

#[test]
fn the_grammar_is_held_to_the_letter() {
    let good = [
        "0",
        "-0",
        "-0.5e-7",
        "1E+2",
        "12",
        "\"\"",
        "\"\\ud83d\\ude00\\/\\u00e9\"",
        "[]",
        "[ ]",
        " [1 , 2] ",
        "{}",
        "{ \"a\" : { } }",
        "null",
        "true",
        "false",
        "\"\u{7f}é\"",
    ];
    for text in good {
        assert!(is_json(text) && others_say(text), "{text}");
    }
    let bad = [
        "",
        " ",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "nul",
        "tru",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\\ud800x\"",
        "\"\t\"",
        "\"\n\"",
        "[",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "1 2",
        "]",
        "}",
        "\u{a0}1",
        "\"\\u+123\"",
    ];
    for text in bad {
        assert!(!is_json(text) && !others_say(text), "{text}");
    }
}

#[test]
fn a_special_byte_is_found_wherever_it_stands() {
    for length in 0..3 * BLOCK {
        for place in 0..=length {
            let mut text: String = "!# \u{7f}[]{:}".chars().cycle().take(length).collect();
            text.push('"');
            text.replace_range(place..=place, "\u{1f}");
            for start in 0..=place {
                let mut scanner = Scanner { at: start, ..Scanner::new(&text) };
                scanner.advance_to_special();
                assert_eq!(scanner.at, place);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_judged_as_by_another_parser(text in r#"[\[\]{}:,"\\u019.eE+\-a dtrufalsn\n]{0,12}"#) {
        prop_assert_eq!(is_json(&text), others_say(&text));
    }

    #[test]
    fn a_value_with_one_byte_changed_is_judged_as_by_another_parser(
        place in 0..88_usize,
        byte in prop::char::range('\u{1}', '\u{7e}'),
    ) {
        let mut text: Vec<char> =
            r#"{"a":[1.5e3,-0,true,null,"x\n\u00e9\ud83d\ude00"],"b\"":{"":[{}]},"long text of a value":"é"}"#.chars().collect();
        text[place] = byte;
        let text: String = text.into_iter().collect();
        prop_assert_eq!(is_json(&text), others_say(&text), "{}", text);
    }
}
