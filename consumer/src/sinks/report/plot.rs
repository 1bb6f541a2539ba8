//! Plots as SVG. Colours are classes of the page's style, so that they fit a dark screen too.

use std::fmt::Write;

/// The width of every plot that has time as its axis, in units of its own; the page scales it.
pub const WIDTH: f64 = 1080.0;

/// Colours to tell things apart with; more things begin anew.
pub const COLOURS: usize = 8;

/// The area of a plot, and what its edges stand for.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
    /// First and last time, nanoseconds since the Unix epoch.
    pub time_ns: (i64, i64),
    /// What the upper edge stands for; the lower one is 0.
    pub most: f64,
}

impl Area {
    pub fn x(&self, time_ns: i64) -> f64 {
        let (first, last) = self.time_ns;
        let span = (last as f64 - first as f64).max(1.0);
        let part = (time_ns as f64 - first as f64) / span;
        self.left + part.clamp(0.0, 1.0) * (self.right - self.left)
    }

    pub fn y(&self, value: f64) -> f64 {
        self.bottom - (value / self.most).clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    /// Lines and numbers for the values.
    pub fn value_axis(&self, svg: &mut String, unit: &str) {
        let step = nice_step(self.most / 4.0);
        let mut value = 0.0;
        while value <= self.most * 1.000_1 {
            let y = self.y(value);
            let class = if value == 0.0 { "axis" } else { "grid" };
            let _ = write!(
                svg,
                "<line class=\"{class}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}{unit}</text>",
                self.left,
                self.right,
                self.left - 8.0,
                y + 4.0,
                number(value)
            );
            value += step;
        }
    }

    /// Marks and times of day below.
    pub fn time_axis(&self, svg: &mut String) {
        let (first, last) = self.time_ns;
        let step_ns = time_step_ns(last.saturating_sub(first));
        let mut time_ns = first
            .div_euclid(step_ns)
            .saturating_add(1)
            .saturating_mul(step_ns);
        while time_ns <= last {
            let x = self.x(time_ns);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.top,
                self.bottom,
                self.bottom + 18.0,
                time_of_day(time_ns, step_ns)
            );
            match time_ns.checked_add(step_ns) {
                Some(next) => time_ns = next,
                None => break,
            }
        }
    }
}

/// An SVG of this height.
pub fn svg(height: f64, label: &str, body: &str) -> String {
    format!(
        "<div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">{body}</svg></div>",
        escape(label)
    )
}

/// `M x y L x y ...`, one for each run of points.
pub fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{x:.1} {y:.1}");
    }
    path
}

/// Safe between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// 1, 2 or 5 times a power of ten: the first that is not less.
pub fn nice_step(least: f64) -> f64 {
    if !least.is_finite() || least <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps
        .into_iter()
        .find(|step| step * power >= least * 0.999_9);
    step.unwrap_or(10.0) * power
}

/// As short as it can be.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        v if v >= 100.0 || v.fract() == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `1234567` to `1,234,567`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// About eight marks for so long a time.
fn time_step_ns(span_ns: i64) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    const SECONDS: [i64; 17] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
    ];
    let least = span_ns / 9;
    let parts = [SECOND / 10, SECOND / 5, SECOND / 2].into_iter();
    let steps = parts.chain(SECONDS.map(|seconds| seconds * SECOND));
    let day = 86_400 * SECOND;
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or_else(|| (least / day + 1).saturating_mul(day))
}

fn time_of_day(time_ns: i64, step_ns: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(time_ns)) else {
        return String::new();
    };
    let format = match step_ns {
        step if step < 1_000_000_000 => "%H:%M:%S%.1f",
        step if step < 60_000_000_000 => "%H:%M:%S",
        step if step < 86_400_000_000_000 => "%H:%M",
        _ => "%d %b",
    };
    time.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_that_people_count_in() {
        for (least, step) in [
            (0.0, 1.0),
            (0.03, 0.05),
            (0.7, 1.0),
            (1.2, 2.0),
            (6.0, 10.0),
            (300.0, 500.0),
        ] {
            assert!((nice_step(least) - step).abs() < 1e-9, "{least}");
        }
        assert_eq!(time_step_ns(20_000_000_000), 5_000_000_000);
        assert!(time_step_ns(i64::MAX) > 0);
    }

    #[test]
    fn numbers_are_short_and_texts_of_strangers_are_harmless() {
        assert_eq!(
            [0.0, 0.25, 1.5, 20.0, 1234.5].map(number),
            ["0", "0.25", "1.5", "20", "1234"]
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(
            escape("<a b='\"&\u{1}'>"),
            "&lt;a b=&#39;&quot;&amp;\u{fffd}&#39;&gt;"
        );
    }
}
