//! CKA_START_DATE and CKA_END_DATE.

use super::Attributes;
use crate::error::{Result, fail};
use cryptoki_sys::*;

/// CK_DATE: eight digits, a month and a day that exist (4.1).
pub(super) fn is_date(value: &[u8]) -> bool {
    let number = |range: std::ops::Range<usize>| {
        value
            .get(range)
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok())
    };
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(4..6), number(6..8)) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    value.len() == 8 && (1..=days).contains(&day)
}

/// A date that limits the use of a key; an empty one does not.
fn limit(attributes: &Attributes, date: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
    attributes.get(date).filter(|date| date.len() == 8)
}

/// Whether today (UTC) is within CKA_START_DATE and CKA_END_DATE of a key, both included; an empty
/// date is no limit (4.8.2).
pub fn is_valid_today(attributes: &Attributes) -> bool {
    let (start, end) = (
        limit(attributes, CKA_START_DATE),
        limit(attributes, CKA_END_DATE),
    );
    if start.is_none() && end.is_none() {
        return true;
    }
    let now = std::time::SystemTime::now();
    let Ok(today) = der::DateTime::from_system_time(now) else {
        return false;
    };
    let today = format!("{:04}{:02}{:02}", today.year(), today.month(), today.day());
    // Eight digits each: their order is that of the days.
    start.is_none_or(|start| start <= today.as_bytes())
        && end.is_none_or(|end| today.as_bytes() <= end)
}

/// Refuses a period that ends before it begins. `CKR_TEMPLATE_INCONSISTENT`.
pub(super) fn check_order(attributes: &Attributes) -> Result<()> {
    match (
        limit(attributes, CKA_START_DATE),
        limit(attributes, CKA_END_DATE),
    ) {
        (Some(start), Some(end)) if start > end => fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "CKA_START_DATE is after CKA_END_DATE"
        ),
        _ => Ok(()),
    }
}
