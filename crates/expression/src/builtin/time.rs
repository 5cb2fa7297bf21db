//! Accessors of timestamps and durations.

use std::sync::LazyLock;

use jiff::{
    SignedDuration,
    civil::{DateTime, Weekday},
    tz::TimeZoneDatabase,
};

use crate::{
    functions::TimePart,
    machine::{EvalError, Machine, Result},
    time::{CelTimestamp, parse_offset},
    value::Value,
};

/// The IANA database in the binary: the same on every node, whatever the image has.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Steps of a lookup of a time zone.
const ZONE_STEPS: usize = 32;

/// Longest name of a time zone that is looked up, in bytes. The longest of the database has 32.
const ZONE_BYTES: usize = 64;

/// `None` if there is no overload for these arguments.
pub(super) fn part<'a>(
    machine: &mut Machine<'a>,
    part: TimePart,
    at: usize,
    arguments: &[Value<'a>],
) -> Result<Option<Value<'a>>> {
    let (time, offset) = match arguments {
        [Value::Duration(duration)] => return Ok(duration_part(part, *duration).map(Value::Int)),
        [Value::Timestamp(time)] => (*time, 0),
        [Value::Timestamp(time), Value::Text(zone)] => {
            machine.pay_bytes(zone.len(), at)?;
            machine.pay(ZONE_STEPS, at)?;
            let unknown = "this is not a time zone; write a name such as Europe/Berlin, or an offset such as +02:00";
            (*time, offset(zone, *time).ok_or_else(|| EvalError::new(at, unknown))?)
        }
        _ => return Ok(None),
    };
    let local = time.local(offset).ok_or_else(|| EvalError::new(at, "the local time is after the year 9999"))?;
    Ok(Some(Value::Int(timestamp_part(part, local))))
}

/// Seconds from UTC of an offset such as `+02:00` or `02:00`, or of an IANA time zone at a time.
fn offset(zone: &str, time: CelTimestamp) -> Option<i32> {
    if zone.len() > ZONE_BYTES {
        return None;
    }
    if let Some(offset) = parse_offset(zone) {
        return Some(offset);
    }
    if zone.starts_with(|first: char| first.is_ascii_digit()) {
        return parse_offset(&format!("+{zone}"));
    }
    let zone = ZONES.get(if zone == "Z" { "UTC" } else { zone }).ok()?;
    Some(zone.to_offset(time.to_jiff()).seconds())
}

fn duration_part(part: TimePart, duration: SignedDuration) -> Option<i64> {
    match part {
        TimePart::Hours => Some(duration.as_secs() / 3600),
        TimePart::Minutes => Some(duration.as_secs() / 60),
        TimePart::Seconds => Some(duration.as_secs()),
        TimePart::Milliseconds => Some(i64::from(duration.subsec_millis())),
        _ => None,
    }
}

/// CEL counts months, days of the year and days of the month from 0, dates from 1, and days of the week from Sunday.
fn timestamp_part(part: TimePart, local: DateTime) -> i64 {
    match part {
        TimePart::FullYear => i64::from(local.year()),
        TimePart::Month => i64::from(local.month()) - 1,
        TimePart::DayOfYear => i64::from(local.day_of_year()) - 1,
        TimePart::DayOfMonth => i64::from(local.day()) - 1,
        TimePart::Date => i64::from(local.day()),
        TimePart::DayOfWeek => i64::from(Weekday::to_sunday_zero_offset(local.weekday())),
        TimePart::Hours => i64::from(local.hour()),
        TimePart::Minutes => i64::from(local.minute()),
        TimePart::Seconds => i64::from(local.second()),
        TimePart::Milliseconds => i64::from(local.millisecond()),
    }
}
