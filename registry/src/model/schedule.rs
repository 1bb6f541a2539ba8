//! Spans of a week in which a source is open.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::fmt;
use std::str::FromStr;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_OF_A_DAY: u16 = 24 * 60;

/// When a source is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    spans: Vec<WeekSpan>,
    /// IANA name; None: UTC.
    zone: Option<String>,
}

impl Schedule {
    /// An error if there is no span, or this machine does not know the zone.
    pub fn new(spans: Vec<WeekSpan>, zone: Option<String>) -> Result<Self, String> {
        if spans.is_empty() {
            return Err("schedule: say when it is open, e.g. [\"Mon-Fri 08:00-18:00\"]".to_owned());
        }
        if let Some(zone) = &zone {
            TimeZone::get(zone).map_err(|cause| {
                format!(
                    "time-zone: {cause}; write a name as Europe/Berlin, or leave it out for UTC"
                )
            })?;
        }
        Ok(Self { spans, zone })
    }

    pub fn spans(&self) -> &[WeekSpan] {
        &self.spans
    }

    /// The IANA name of its zone; None: UTC.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Whether it is open at this moment.
    pub fn is_open_at(&self, time: Timestamp) -> bool {
        let zone = self.zone.as_deref().map(TimeZone::get);
        // It was known when the schedule was made; a machine that has lost its zones since goes by UTC.
        let zone = zone.and_then(Result::ok).unwrap_or(TimeZone::UTC);
        let local = time.to_zoned(zone);
        self.spans.iter().any(|span| span.holds(&local))
    }
}

/// Days and a time of day: `Mon-Fri 08:00-18:00`. A span that ends before it begins goes on over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeekSpan {
    /// Bit 0: Monday.
    days: u8,
    /// Minutes since midnight.
    from: u16,
    /// Minutes since midnight, up to 24:00.
    to: u16,
}

impl WeekSpan {
    fn holds(self, local: &Zoned) -> bool {
        let day = local.weekday().to_monday_zero_offset() as u8;
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let is_on = |day: u8| self.days & (1 << day) != 0;
        if self.from < self.to {
            return is_on(day) && (self.from..self.to).contains(&minute);
        }
        let day_before = (day + 6) % 7;
        (is_on(day) && minute >= self.from) || (is_on(day_before) && minute < self.to)
    }
}

impl FromStr for WeekSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no span of a week: write days and times, e.g. \"Mon-Fri 08:00-18:00\", \
                 \"Sat,Sun 22:00-02:00\" or \"daily 06:00-24:00\""
            )
        };
        let (days, times) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let (from, to) = times.trim().split_once('-').ok_or_else(wrong)?;
        let days = days_of(days).ok_or_else(wrong)?;
        let from = minutes(from).filter(|from| *from < MINUTES_OF_A_DAY);
        let (from, to) = (from.ok_or_else(wrong)?, minutes(to).ok_or_else(wrong)?);
        match from == to {
            true => Err(format!(
                "{text:?} ends when it begins; a whole day is 00:00-24:00"
            )),
            false => Ok(Self { days, from, to }),
        }
    }
}

fn days_of(text: &str) -> Option<u8> {
    if text.eq_ignore_ascii_case("daily") {
        return Some(0b111_1111);
    }
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (day(first)?, day(last)?);
        loop {
            days |= 1 << day;
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Some(days)
}

fn day(text: &str) -> Option<u8> {
    let is_it = |name: &&str| name.eq_ignore_ascii_case(text);
    DAYS.iter().position(is_it).map(|day| day as u8)
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let is_two_digits = |text: &str| text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
    if !is_two_digits(hour) || !is_two_digits(minute) {
        return None;
    }
    let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= MINUTES_OF_A_DAY).then_some(minutes)
}

impl fmt::Display for WeekSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<u8> = (0..7).filter(|day| self.days & (1 << day) != 0).collect();
        let is_run = on.windows(2).all(|two| two[1] == two[0] + 1);
        match (on.as_slice(), is_run) {
            ([0, .., 6], true) => f.write_str("daily")?,
            ([first, _, .., last], true) => {
                write!(
                    f,
                    "{}-{}",
                    DAYS[usize::from(*first)],
                    DAYS[usize::from(*last)]
                )?;
            }
            _ => {
                let names: Vec<&str> = on.iter().map(|day| DAYS[usize::from(*day)]).collect();
                f.write_str(&names.join(","))?;
            }
        }
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(f, " {}-{}", time(self.from), time(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(spans: &[&str], zone: Option<&str>, time: &str) -> bool {
        let spans = spans.iter().map(|span| span.parse().unwrap()).collect();
        let schedule = Schedule::new(spans, zone.map(str::to_owned)).unwrap();
        schedule.is_open_at(time.parse().unwrap())
    }

    #[test]
    fn a_schedule_is_open_within_its_spans_only() {
        // 2026-11-20 is a Friday.
        let office = &["Mon-Fri 08:00-18:00"];
        assert!(is_open(office, None, "2026-11-20T08:00:00Z"));
        assert!(is_open(office, None, "2026-11-20T17:59:59Z"));
        assert!(!is_open(office, None, "2026-11-20T18:00:00Z"));
        assert!(!is_open(office, None, "2026-11-21T12:00:00Z"));
        assert!(is_open(
            &["daily 00:00-24:00"],
            None,
            "2026-11-21T23:59:59Z"
        ));
    }

    #[test]
    fn a_span_goes_on_over_midnight_and_over_the_end_of_the_week() {
        let night = &["Sun 22:00-02:00"];
        assert!(is_open(night, None, "2026-11-22T23:00:00Z"));
        assert!(is_open(night, None, "2026-11-23T01:59:00Z"));
        assert!(!is_open(night, None, "2026-11-23T02:00:00Z"));
        assert!(!is_open(night, None, "2026-11-22T01:00:00Z"));
        assert!(is_open(
            &["Sat-Mon 10:00-11:00"],
            None,
            "2026-11-22T10:30:00Z"
        ));
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let office = &["Fri 08:00-18:00"];
        let berlin = Some("Europe/Berlin");
        assert!(is_open(office, berlin, "2026-11-20T07:00:00Z"));
        assert!(!is_open(office, berlin, "2026-11-20T17:00:00Z"));
        assert!(
            Schedule::new(
                vec!["Mon 08:00-09:00".parse().unwrap()],
                Some("Mars/A".into())
            )
            .is_err()
        );
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in [
            "Mon-Fri 08:00-18:00",
            "daily 00:00-24:00",
            "Mon,Wed 22:00-02:00",
            "Sat,Sun 10:00-12:00",
        ] {
            assert_eq!(text.parse::<WeekSpan>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "Mon",
            "Mon 8:00-9:00",
            "Mon 08:00",
            "Mon 24:00-25:00",
            "Foo 08:00-09:00",
            "Mon 08:00-08:00",
            "Mon 08:60-09:00",
        ] {
            assert!(bad.parse::<WeekSpan>().is_err(), "{bad:?}");
        }
    }
}
