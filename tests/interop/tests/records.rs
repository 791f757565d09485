//! Call records in PostgreSQL: what arrives there, and what a database that goes away does to calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use interop::{Drawbridge, Place, Postgres, Sipp, until};

const LIMIT: Duration = Duration::from_secs(60);

/// Calls of the PBX go to the carrier; with this in `[cdr]`.
fn configuration(place: &Place, cdr: &str) -> String {
    format!(
        "[cdr]\n{cdr}\n\n[[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n\
         [[trunk]]\nname = \"carrier\"\npeers = [\"sip:{b}:5060\"]\n\n\
         [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n",
        a = place.ip(Place::A),
        b = place.ip(Place::B),
    )
}

fn to(postgres: &Postgres) -> String {
    format!("postgres = \"{}\"", postgres.url())
}

fn calls(place: &Place, count: u32) {
    let callee = Sipp::callee("uas.xml", place.ip(Place::B)).calls(count).start(place);
    let caller = Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(count).rate(40);
    caller.calling("12125551000").start(place).finish(LIMIT).assert_clean(count);
    callee.finish(LIMIT).assert_clean(count);
}

fn wait_for_rows(postgres: &Postgres, rows: u32) {
    until(&format!("{rows} rows in PostgreSQL"), LIMIT, || {
        std::thread::sleep(Duration::from_millis(100));
        // The box makes the table when it first reaches the database.
        if postgres.query("SELECT to_regclass('cdr') IS NULL") == ["t"] {
            return None;
        }
        let count: u32 = postgres.query("SELECT count(*) FROM cdr")[0].parse().unwrap();
        assert!(count <= rows, "{count} rows for {rows} calls");
        (count == rows).then_some(())
    });
}

#[test]
fn each_call_is_one_row_with_what_happened() {
    let place = Place::new("rows");
    let postgres = Postgres::start(&place);
    let drawbridge = Drawbridge::start(&place, &configuration(&place, &to(&postgres)));
    calls(&place, 10);
    wait_for_rows(&postgres, 10);
    let columns = "node, trunk_in, trunk_out, route, caller, called, disposition, ended_by, sip_code_a, sip_code_b, \
                   attempt, is_last, a_transport, started_at <= ringing_at AND ringing_at <= answered_at \
                   AND answered_at <= ended_at";
    let rows = postgres.query(&format!("SELECT DISTINCT {columns} FROM cdr"));
    assert_eq!(rows, ["interop|pbx|carrier|out|caller|12125551000|answered|caller|200|200|1|t|udp|t"]);
    assert_eq!(postgres.query("SELECT count(*) FROM calls"), ["10"]);
    let here =
        drawbridge.cdrs(10).iter().map(|cdr| cdr["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut there = postgres.query("SELECT id FROM cdr");
    there.retain(|id| !here.contains(id));
    assert_eq!(there, Vec::<String>::new(), "the same rows in the journal and in PostgreSQL");
}

#[test]
fn calls_leave_no_record_where_that_is_switched_off() {
    let place = Place::new("off");
    let rest = configuration(&place, "enabled = false");
    let drawbridge = Drawbridge::start_node(&place, "recover_calls = false", &rest);
    calls(&place, 10);
    assert_eq!(drawbridge.metrics().sum("drawbridge_calls_ended_total"), 10.0);
    // A commit gathers for a tenth of this.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(drawbridge.all_cdrs().len(), 0);
}

#[test]
fn a_database_that_goes_away_delays_records_and_nothing_else() {
    let place = Place::new("away");
    let mut postgres = Postgres::start(&place);
    let mut drawbridge = Drawbridge::start(&place, &configuration(&place, &to(&postgres)));
    calls(&place, 10);
    wait_for_rows(&postgres, 10);
    postgres.go_away();
    calls(&place, 30);
    drawbridge.assert_alive();
    assert_eq!(drawbridge.cdrs(40).len(), 40, "the journal has them all");
    postgres.come_back();
    wait_for_rows(&postgres, 40);
    // Time enough for anything that was sent twice to arrive twice.
    std::thread::sleep(Duration::from_secs(2));
    wait_for_rows(&postgres, 40);
    drawbridge.stop();
}

#[test]
fn a_box_that_starts_before_its_database_catches_up() {
    let place = Place::new("late");
    let mut postgres = Postgres::start(&place);
    postgres.go_away();
    let _drawbridge = Drawbridge::start(&place, &configuration(&place, &to(&postgres)));
    calls(&place, 5);
    postgres.come_back();
    wait_for_rows(&postgres, 5);
}
