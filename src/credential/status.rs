//! How long a certificate still lives, and when its owner is warned.
//!
//! The schedule is the one that the users of Japan's medical client certificates know
//! (REQUIREMENTS R18): 90, 60, 30 and 15 days before expiry, daily from 7 days, and after expiry.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// How near the end is. Ordered: a later stage is more urgent, but for `NotYetValid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its notBefore is still to come.
    NotYetValid,
    /// More than 90 days are left.
    Valid,
    /// At most 90 days are left.
    Within90,
    /// At most 60 days are left.
    Within60,
    /// At most 30 days are left.
    Within30,
    /// At most 15 days are left.
    Within15,
    /// At most 7 days are left: a warning a day.
    Daily,
    /// Its notAfter has passed.
    Expired,
}

impl Stage {
    /// A fixed name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Stage::NotYetValid => "not-yet-valid",
            Stage::Valid => "valid",
            Stage::Within90 => "within-90-days",
            Stage::Within60 => "within-60-days",
            Stage::Within30 => "within-30-days",
            Stage::Within15 => "within-15-days",
            Stage::Daily => "within-7-days",
            Stage::Expired => "expired",
        }
    }
}

/// What to tell the owner of a certificate at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// How near the end is.
    pub stage: Stage,
    /// Whole days until notAfter, rounded down; negative after it.
    pub days_left: i64,
    /// The schedule has a warning on this very day, for who asks once a day.
    pub warn_today: bool,
}

impl Status {
    /// The status at `now` of a certificate that lives from `not_before` to `not_after`, both
    /// included (RFC 5280 4.1.2.5).
    pub fn at(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> Self {
        let seconds_left = unix_seconds(not_after) - unix_seconds(now);
        let days_left = seconds_left.div_euclid(DAY);
        let stage = match days_left {
            _ if seconds_left < 0 => Stage::Expired,
            _ if now < not_before => Stage::NotYetValid,
            ..=7 => Stage::Daily,
            8..=15 => Stage::Within15,
            16..=30 => Stage::Within30,
            31..=60 => Stage::Within60,
            61..=90 => Stage::Within90,
            _ => Stage::Valid,
        };
        Self {
            stage,
            days_left,
            warn_today: stage >= Stage::Daily || matches!(days_left, 15 | 30 | 60 | 90),
        }
    }

    /// Something should be done about this certificate.
    pub fn needs_attention(&self) -> bool {
        self.stage != Stage::Valid
    }
}

/// The warning in words; `valid` where there is none.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.stage, self.days_left) {
            (Stage::Valid, _) => f.write_str("valid"),
            (Stage::NotYetValid, _) => f.write_str("not valid yet"),
            (Stage::Expired, -1) => f.write_str("EXPIRED less than a day ago"),
            (Stage::Expired, -2) => f.write_str("EXPIRED 1 day ago"),
            (Stage::Expired, days) => write!(f, "EXPIRED {} days ago", -1 - days),
            (_, 0) => f.write_str("expires in less than a day: renew now"),
            (_, 1) => f.write_str("expires in 1 day: renew now"),
            (Stage::Daily, days) => write!(f, "expires in {days} days: renew now"),
            (_, days) => write!(f, "expires in {days} days: renew"),
        }
    }
}

/// Seconds since 1970, where the times of certificates start in `x509_cert`; a clock that is set
/// earlier reads as 0.
fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOT_AFTER: u64 = 2_000_000_000;

    /// The status `seconds` before (or after, when negative) the end of validity.
    fn before_end(seconds: i64) -> Status {
        let not_after = UNIX_EPOCH + Duration::from_secs(NOT_AFTER);
        let now = UNIX_EPOCH + Duration::from_secs(NOT_AFTER.saturating_add_signed(-seconds));
        Status::at(UNIX_EPOCH, not_after, now)
    }

    #[test]
    fn the_schedule_of_warnings() {
        let warned: Vec<i64> = (-3..200)
            .rev()
            .filter(|days| before_end(days * DAY).warn_today)
            .collect();
        assert_eq!(warned, [90, 60, 30, 15, 7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3]);
    }

    #[test]
    fn stages_change_at_their_day() {
        for (days, stage) in [
            (91, Stage::Valid),
            (90, Stage::Within90),
            (61, Stage::Within90),
            (60, Stage::Within60),
            (30, Stage::Within30),
            (15, Stage::Within15),
            (8, Stage::Within15),
            (7, Stage::Daily),
            (0, Stage::Daily),
            (-1, Stage::Expired),
        ] {
            assert_eq!(before_end(days * DAY).stage, stage, "{days} days");
        }
    }

    #[test]
    fn the_last_second_counts_as_valid_and_the_next_as_expired() {
        assert_eq!(
            before_end(0).to_string(),
            "expires in less than a day: renew now"
        );
        assert_eq!(before_end(-1).stage, Stage::Expired);
        assert_eq!(before_end(-1).to_string(), "EXPIRED less than a day ago");
        assert_eq!(before_end(-DAY - 1).to_string(), "EXPIRED 1 day ago");
        assert_eq!(before_end(-5 * DAY - 1).to_string(), "EXPIRED 5 days ago");
        assert_eq!(
            before_end(90 * DAY + 5).to_string(),
            "expires in 90 days: renew"
        );
    }

    #[test]
    fn before_its_time_it_is_not_valid_yet() {
        let at = |s| UNIX_EPOCH + Duration::from_secs(s);
        let status = Status::at(at(1_000_000), at(NOT_AFTER), at(999_999));
        assert_eq!(
            (status.stage, status.needs_attention()),
            (Stage::NotYetValid, true)
        );
        assert!(!Status::at(at(1_000_000), at(NOT_AFTER), at(1_000_000)).needs_attention());
    }
}
