//! Literal and computed patterns of `matches`.

use std::fmt::Write;

use serde_json::json;

use super::*;
use crate::limits::{EXPRESSION_BYTES, EXPRESSION_PATTERNS_BYTES};

fn refused(source: &str) -> String {
    Expression::compile(source, Scope::Delivery, ExpectedType::Json).unwrap_err().to_string()
}

#[test]
fn the_size_of_all_patterns_of_an_expression_is_bounded() {
    let mut source = String::from("false");
    for number in 0..500 {
        write!(source, "||''.matches('x{{1000}}{number}')").unwrap();
    }
    assert!(source.len() <= EXPRESSION_BYTES);
    let error = refused(&source);
    assert!(error.contains("too large: the patterns of one expression need more than the 1024 KiB"), "{error}");
    // As many as are accepted: their size is what the bound says.
    let mut sizes = Vec::new();
    loop {
        let pattern = format!("^[ax]{{0,200}}{}$", sizes.len());
        let size = pattern::intern(&pattern).unwrap().size();
        if sizes.iter().sum::<usize>() + size > EXPRESSION_PATTERNS_BYTES {
            break;
        }
        sizes.push(size);
    }
    let all = |count: usize| {
        let each: Vec<_> = (0..count).map(|number| format!("''.matches('^[ax]{{0,200}}{number}$')")).collect();
        each.join("||")
    };
    assert!(sizes.len() > 10, "{sizes:?}");
    assert!(Expression::compile(&all(sizes.len()), Scope::Delivery, ExpectedType::Bool).is_ok());
    assert!(refused(&all(sizes.len() + 1)).contains("too large"));
}

#[test]
fn equal_patterns_count_once() {
    let source = vec!["''.matches('^y{1,1000}$')"; 500].join("||");
    assert!(source.len() <= EXPRESSION_BYTES);
    assert!(Expression::compile(&source, Scope::Delivery, ExpectedType::Bool).is_ok());
}

#[test]
fn patterns_are_those_of_re2() {
    for (source, expected) in [
        (r"'acme12_'.matches(r'^\w{7}$')", true),
        (r"'é'.matches(r'\w')", false),
        (r"'acme/shop.js'.matches(r'^[\w.-]{1,39}/[\w.-]{1,100}$')", true),
        (r"'acmé/shop'.matches(r'^[\w.-]{1,39}/[\w.-]{1,100}$')", false),
        (r"'é'.matches(r'^.$') && 'é'.matches(r'^\W$') && 'é'.matches(r'^[^\w]$')", true),
        (r"'&'.matches('^[a&&b]$')", true),
        (r"matches('é', payload.action + r'|\W')", true),
    ] {
        assert_eq!(evaluate(source), Ok(json!(expected)), "{source}");
    }
}

#[test]
fn a_pattern_that_is_refused_is_refused_with_a_reason() {
    for (source, sentence) in [
        ("'a'.matches('(b')", "line 1, column 13: not RE2 syntax: the group is not closed by `)`, at character 1"),
        ("'a'.matches('b(?=c)')", "not RE2 syntax: look-around is not supported, at character 2 of the pattern"),
        (r"'a'.matches(r'(b)\1')", "not RE2 syntax: back-references are not supported, at character 4"),
        ("'a'.matches('(a{1000}){1000}')", "line 1, column 13: too large: the pattern needs more than the 256 KiB"),
        ("'a'.matches('b{4000}')", "`{4000}` repeats more than the 1000 times allowed"),
    ] {
        let error = refused(source);
        assert!(error.contains(sentence), "{source}: {error}");
    }
    for (source, sentence) in [
        ("'a'.matches(payload.action + '(')", "the pattern is not RE2 syntax"),
        ("'a'.matches('([a-f]{1000}){100' + '0}')", "too large: the pattern needs more than the 256 KiB"),
    ] {
        let error = evaluate(source).unwrap_err();
        assert!(error.contains(sentence), "{source}: {error}");
    }
}

/// Searches in turn, with more patterns than have memory kept for them.
#[test]
fn searches_share_the_memory_of_an_evaluation() {
    let each: Vec<_> = (0..40).map(|number| format!("!text.matches('^[ax]{{1,9}}{number}$')")).collect();
    let source = format!("['ax', 'xa', 'aa'].all(text, {})", each.join(" && "));
    assert_eq!(evaluate(&source), Ok(json!(true)));
}
