//! By the syntax page of RE2.

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    let translated = translate(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let regex = regex_automata::meta::Regex::new(&translated);
    regex.unwrap_or_else(|error| panic!("{pattern}: {translated}: {error}")).is_match(text)
}

#[test]
fn patterns_mean_what_they_mean_in_re2() {
    for (pattern, matched, unmatched) in [
        // Perl classes and word boundaries are ASCII; what is negated matches whole characters.
        (r"^\w+$", "az_09", "é"),
        (r"^\d+$", "09", "٣"),
        (r"^\s$", " ", "\u{a0}"),
        (r"^\s$", "\u{c}", "\u{b}"),
        (r"^\W$", "é", "éé"),
        (r"^\D$", "٣", "3"),
        (r"^\S$", "🙂", " "),
        (r"^[\w.-]+$", "a.-b", "é"),
        (r"^[^\w]$", "é", "a"),
        (r"^[\W]$", "é", "a"),
        (r"^[^\W]$", "a", "é"),
        (r"^[\D\s]$", "é", "1"),
        (r"^[^\S]$", " ", "é"),
        (r"^[\W_]$", "_", "a"),
        (r"\bfin\b", "éfiné", "fine"),
        (r"x\By", "xy", "x y"),
        (r"é\B", "é", "éa"),
        (r"(?i)^\w$", "\u{212a}", "é"),
        (r"^[[:word:]]$", "_", "é"),
        (r"^[[:^alpha:]]$", "é", "a"),
        (r"^[[:alpha:][:digit:]-]+$", "a1-", "_"),
        // Literals, the dot and classes of Unicode are characters.
        ("^.$", "🙂", "ab"),
        ("^é{2}$", "éé", "é"),
        (r"^\p{Greek}$", "α", "a"),
        (r"^\P{Greek}$", "a", "α"),
        (r"^\p{^Greek}$", "a", "α"),
        (r"^\pL$", "é", "1"),
        (r"^[\p{Greek}x]$", "x", "y"),
        ("(?i)^É$", "é", "e"),
        // What are operators in classes elsewhere.
        ("^[a&&b]+$", "a&b", "c"),
        ("^[+--b]$", "-", "a"),
        ("^[a~~b]+$", "a~b", "c"),
        ("^[[a]$", "[", "]"),
        ("^[a[b]$", "[", "c"),
        ("^[]a]$", "]", "["),
        ("^[^]a]$", "b", "]"),
        ("^[a-]$", "-", "b"),
        ("^[-a]$", "-", "b"),
        (r"^[\d-z]+$", "1-z", "a"),
        ("^[#-%]$", "$", "&"),
        (r"^[\]\\\-]+$", r"]\-", "["),
        (r"^[\x41\x{1F642}\n]+$", "A🙂\n", "B"),
        // Escapes and braces.
        (r"^\x{e9}\101\07$", "éA\u{7}", "é"),
        (r"^\Qa.b*\E+$", "a.b**", "axb"),
        (r"^a\Q\E$", "a", "b"),
        ("^a{,2}$", "a{,2}", "aa"),
        ("^a{x}$", "a{x}", "a"),
        ("^{$", "{", "}"),
        ("^a{2}b{1,}c{0,1}$", "aabb", "abb"),
        (r"^\_\-\<\ $", "_-< ", "-"),
        ("^ # $", " # ", ""),
        // Groups and flags.
        ("^(?P<a>x)(?<b>y)(?:z)$", "xyz", "xy"),
        ("(?i:A)b", "ab", "aB"),
        ("(?s)a.b", "a\nb", "ab"),
        ("(?m)^b$", "a\nb", "ab"),
        ("(?i-s)A", "a", "b"),
        ("^(|a)*?$", "aa", "b"),
        (r"^(?:^|x)*\z", "xx", "y"),
    ] {
        assert!(matches(pattern, matched), "{pattern} does not match {matched:?}");
        assert!(!matches(pattern, unmatched), "{pattern} matches {unmatched:?}");
    }
    assert!(matches("a$", "ba") && !matches("a$", "a\n"));
}

#[test]
fn what_re2_refuses_is_refused_with_a_reason() {
    for (pattern, reason) in [
        ("(a", "the group is not closed by `)`, at character 1 of the pattern"),
        ("é)", "`)` closes no group, at character 2"),
        ("a|*", "`*` repeats nothing, at character 3"),
        ("a**", "`*` repeats a repetition, at character 3"),
        ("a{2}{3}", "`{3}` repeats a repetition"),
        ("a{2}?+", "`+` repeats a repetition"),
        ("a{1001}", "more than the 1000 times"),
        ("a{99999999999}", "more than the 1000 times"),
        ("a{3,2}", "wrong order"),
        ("[a", "the class is not closed by `]`, at character 1"),
        ("[]", "not closed"),
        ("[b-a]", "the range is in the wrong order, at character 2"),
        (r"[a-\d]", "a range ends with a character"),
        ("[a--b]", "wrong order"),
        ("[[:foo:]]", "there is no class `[:foo:]`"),
        ("a(?=b)", "look-around is not supported, at character 2"),
        ("(?<!a)b", "look-around is not supported"),
        (r"(a)\1", "back-references are not supported, at character 4"),
        (r"\8", "back-references"),
        (r"\Z", r"the escape `\Z` is not known"),
        (r"\u00e9", "is not known"),
        (r"\é", "is not known"),
        (r"a\", "ends after a backslash"),
        (r"\xg0", "hexadecimal"),
        (r"\x{110000}", "not a character"),
        (r"\p{Klingon}", "Unicode has no class `Klingon`"),
        (r"\C", "any byte"),
        ("(?x)a", "the flags i, m, s and U"),
        ("(?-u)a", "the flags"),
        ("(?)a", "the flags"),
        ("(?P<a-b>x)", "the name of the group"),
        ("(?>a)", "after `(?` come"),
    ] {
        let error = translate(pattern).unwrap_err();
        assert!(error.contains(reason), "{pattern}: {error}");
    }
}
