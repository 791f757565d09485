//! Q.850 causes where nobody named one (RFC 3398).

/// The cause that a final response stands for (RFC 3398 §8.2.6.1, table 8.2.6.1).
pub(super) fn q850_of(status: u16) -> Option<u16> {
    let cause = match status {
        ..300 => return None,
        // A redirect that was not followed leads nowhere.
        300..400 => 31,
        400 | 481 | 500 | 503 => 41,
        401..=403 | 407 | 603 => 21,
        404 | 485 | 604 => 1,
        405 => 63,
        406 | 606 => 88,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        415 | 488 => 65,
        480 => 18,
        482 | 483 => 25,
        484 => 28,
        486 | 600 => 17,
        // The caller took it back.
        487 => 16,
        501 => 79,
        502 => 38,
        506..600 => 41,
        _ => 31,
    };
    Some(cause)
}

#[cfg(test)]
mod tests {
    use super::q850_of;

    #[test]
    fn a_status_stands_for_the_cause_of_rfc_3398() {
        let table = [
            (404, 1),
            (486, 17),
            (480, 18),
            (603, 21),
            (484, 28),
            (502, 38),
            (503, 41),
            (408, 102),
            (499, 31),
        ];
        for (status, cause) in table {
            assert_eq!(q850_of(status), Some(cause), "{status}");
        }
        assert_eq!(q850_of(200), None);
        assert_eq!(q850_of(180), None);
    }
}
