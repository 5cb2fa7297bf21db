//! Evaluations that fail.

use super::*;

#[test]
fn failures_say_where_and_name_nothing_of_the_event() {
    for (source, sentence) in [
        ("payload.repository.owner.login == 'x'", "line 1, column 20: no such key `owner`; use has(…)"),
        ("payload.action.name", "line 1, column 16: a string has no field `name`"),
        ("payload.nothing.x", "a null_type has no field `x`"),
        ("payload.amount + payload.action", "`+` is not defined for int and string"),
        ("payload.amount / 0", "division by zero"),
        ("payload.huge * 2u", "the result is out of range"),
        ("payload.lines[2].sku", "the list has no such index"),
        ("payload.lines[-1]", "the list has no such index"),
        ("payload[payload.action]", "there is no such key"),
        ("payload.action > 1", "`>` is not defined for string and int"),
        ("payload.action.contains(payload.amount)", "`contains` cannot be called with string, int"),
        ("payload.action && true", "expected a bool, found a string"),
        ("payload.paid && payload.missing", "no such key `missing`"),
        ("payload.amount.exists(x, true)", "an int cannot be iterated"),
        ("int(payload.action)", "not a 64-bit integer"),
        ("timestamp(payload.action)", "timestamp() accepts RFC 3339"),
        ("event.time.getHours(payload.action)", "this is not a time zone; write a name such as Europe/Berlin"),
        ("payload.action.substring(1, 99)", "the index is out of range"),
        ("payload.action.matches(payload.action + '(')", "the pattern is not RE2 syntax"),
        ("[payload.amount].join()", "join() takes strings"),
        ("{payload.action: 1, 'opened': 2}", "the map has this key already"),
        ("0.0 / 0.0", "infinite or NaN"),
        ("payload.?action.name", "line 1, column 17: a string has no field `name`"),
        ("payload.?nothing.x.hasValue()", "a null_type has no field `x`"),
        ("payload[?'amount'][0]", "an int has no elements"),
        ("[?payload.action]", "expected an optional value after `?`, found a string"),
        ("payload.action.optMap(x, x)", "expected an optional value, found a string"),
        ("payload.?action.optFlatMap(x, x)", "optFlatMap requires an optional value, not a string"),
        ("[1, 1].transformMapEntry(i, v, {v: i})", "the map has this key already"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "out of range"),
        ("timestamp('0001-01-01T00:00:00Z') - duration('1ns')", "out of range"),
        ("timestamp('0000-12-31T23:59:59Z')", "timestamp() accepts RFC 3339 from the year 1 to 9999"),
        ("timestamp(253402300800)", "outside of the years 1 to 9999"),
        ("timestamp(-62135596801)", "outside of the years 1 to 9999"),
        ("timestamp('2026-03-01T12:00:00')", "timestamp() accepts RFC 3339"),
        ("timestamp('2026-03-01 12:00:00Z')", "timestamp() accepts RFC 3339"),
        ("timestamp('2026-03-01T12:00Z')", "timestamp() accepts RFC 3339"),
        ("timestamp('2026-03-01T12:00:00Z[Europe/Berlin]')", "timestamp() accepts RFC 3339"),
        ("timestamp('2026-02-30T12:00:00Z')", "timestamp() accepts RFC 3339"),
        ("timestamp('20260301T120000Z')", "timestamp() accepts RFC 3339"),
        ("timestamp('2026-03-01T12:00:00+0100')", "timestamp() accepts RFC 3339"),
        ("event.time.getHours('Mars/Olympus')", "this is not a time zone"),
        ("timestamp('9999-12-31T23:59:59Z').getHours('+01:00')", "after the year 9999"),
        ("duration('1d')", "duration() accepts durations"),
        ("duration('300000h') + duration('3000000h')", "duration() accepts durations"),
        ("duration('2000000h') + duration('2000000h')", "out of range"),
        ("math.abs(-9223372036854775808)", "out of range"),
        ("math.greatest([])", "the list is empty"),
        ("math.least([1, payload.action])", "expected a number, found a string"),
        ("math.greatest(1.0, 0.0 / 0.0)", "NaN has no order"),
        ("math.bitShiftLeft(1, -1)", "the number of bits is negative"),
        ("'%d'.format([payload.action])", "`%d` cannot format a string"),
        ("'%s %s'.format([1])", "more verbs than the list has elements"),
        ("'%y'.format([1])", "the verbs are %s"),
        ("'%.101f'.format([1.0])", "a precision is a number of at most 100"),
        ("'%'.format([])", "the template ends after `%`"),
        ("'abc'.indexOf('a', 4)", "the index is out of range"),
        ("'abc'.charAt(-1)", "the index is out of range"),
        ("payload.?other.value()", "the optional value is empty"),
        ("optional.of(payload)", ""),
    ] {
        match evaluate(source) {
            Ok(_) => assert_eq!(sentence, "", "{source}"),
            Err(error) => {
                assert!(error.contains(sentence) && !sentence.is_empty(), "{source}: {error}");
                assert!(!error.contains("12050") && !error.contains("opened"), "{source}: {error}");
            }
        }
    }
}
