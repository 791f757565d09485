//! Q.850 causes where nobody named one (RFC 3398): for records, and for the Reason that a side is hung up with.

/// The cause that a final response stands for (RFC 3398 §8.2.6.1). What the table does not have is its class's, "interworking"
/// where that says nothing either.
pub(super) fn q850_of(status: u16) -> Option<u16> {
    let cause = match status {
        ..300 => return None,
        400 | 481 | 500 | 503 | 506..513 | 514..600 => 41,
        401..=403 | 407 | 603 => 21,
        404 | 485 | 604 => 1,
        405 => 63,
        406 | 415 | 501 => 79,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        480 => 18,
        482 | 483 => 25,
        484 => 28,
        486 | 600 => 17,
        // The table has none: the caller took it back, which is normal clearing.
        487 => 16,
        // The table leaves them to the Warning: bearer capability not implemented is what most of them say.
        488 | 606 => 65,
        502 => 38,
        // A redirect that was not followed leads nowhere.
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
            (400, 41),
            (401, 21),
            (402, 21),
            (403, 21),
            (404, 1),
            (405, 63),
            (406, 79),
            (407, 21),
            (408, 102),
            (410, 22),
            (413, 127),
            (414, 127),
            (415, 79),
            (416, 127),
            (420, 127),
            (421, 127),
            (423, 127),
            (480, 18),
            (481, 41),
            (482, 25),
            (483, 25),
            (484, 28),
            (485, 1),
            (486, 17),
            (500, 41),
            (501, 79),
            (502, 38),
            (503, 41),
            (504, 102),
            (505, 127),
            (513, 127),
            (600, 17),
            (603, 21),
            (604, 1),
        ];
        for (status, cause) in table {
            assert_eq!(q850_of(status), Some(cause), "{status}");
        }
        assert_eq!((q850_of(499), q850_of(302)), (Some(31), Some(31)));
        assert_eq!((q850_of(200), q850_of(180)), (None, None));
    }
}
