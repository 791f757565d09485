//! A box that is killed again and again under calls that do not go on: every call that a phone saw has its records, each
//! once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use interop::{
    Book, Crowd, Cut, Disk, Drawbridge, Place, Postgres, from_environment, run_command, skipped, until,
};

/// How often it is killed, under how many calls a second: few in the suite, many with `make kills`.
fn extent() -> (u32, u32) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    (number("DRAWBRIDGE_KILLS").unwrap_or(5), number("DRAWBRIDGE_RATE").unwrap_or(60))
}

/// These phones say BYE once, and not again to a box that comes back.
const FORGETFUL: &str = "recover_calls = false";

/// A phone and the box are to agree on times within so many milliseconds. In the suite, which shares a machine with what else
/// is being tested, a phone's own thread may be late by far more.
fn within() -> i64 {
    i64::from(from_environment("DRAWBRIDGE_WITHIN_MS", 1_000)) * 1_000
}

fn configuration(place: &Place, postgres: &Postgres) -> String {
    configuration_by(place, &postgres.url())
}

fn configuration_by(place: &Place, url: &str) -> String {
    format!(
        "[cdr]\npostgres = \"{url}\"\n\n[[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n\
         [[trunk]]\nname = \"carrier\"\npeers = [\"sip:{b}:5060\"]\n\n\
         [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n",
        a = place.ip(Place::A),
        b = place.ip(Place::B),
    )
}

/// Microseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

#[derive(Debug)]
struct Row {
    b_call_id: String,
    is_last: bool,
    disposition: String,
    ended_by: String,
    answered: Option<i64>,
    ended: i64,
}

/// All rows by the Call-ID of the caller.
fn rows(postgres: &Postgres) -> BTreeMap<String, Vec<Row>> {
    let micros = |column: &str| format!("(extract(epoch from {column}) * 1000000)::bigint");
    let lines = postgres.query(&format!(
        "SELECT a_sip_call_id, coalesce(b_sip_call_id, ''), is_last, disposition, ended_by, {}, {} FROM cdr",
        micros("answered_at"),
        micros("ended_at"),
    ));
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for line in lines {
        let columns: Vec<&str> = line.split('|').collect();
        let [a, b, last, disposition, ended_by, answered, ended] = columns[..] else { panic!("{line}") };
        rows.entry(a.to_owned()).or_default().push(Row {
            b_call_id: b.to_owned(),
            is_last: last == "t",
            disposition: disposition.to_owned(),
            ended_by: ended_by.to_owned(),
            answered: answered.parse().ok(),
            ended: ended.parse().unwrap(),
        });
    }
    rows
}

#[test]
fn every_call_that_a_phone_saw_has_each_record_once_however_often_the_box_is_killed() {
    let (kills, rate) = extent();
    let place = Place::new("kills");
    let mut postgres = Postgres::start(&place);
    let configuration = configuration(&place, &postgres);
    let crowd = Crowd::start(&place, rate);
    let mut moment = 7_u64;
    let mut died = Vec::new();
    for kill in 0..kills {
        let drawbridge = Drawbridge::start_node(&place, FORGETFUL, &configuration);
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if kill % 5 == 2 {
            postgres.go_away();
        }
        std::thread::sleep(Duration::from_millis(400 + (moment >> 33) % 600));
        died.push(now());
        // The process is killed.
        drop(drawbridge);
        if kill % 5 == 2 {
            postgres.come_back();
        }
    }
    let drawbridge = Drawbridge::start_node(&place, FORGETFUL, &configuration);
    std::thread::sleep(Duration::from_millis(500));
    let book = crowd.stop();
    wait_for_all(&drawbridge);
    drawbridge.stop();
    let file = place.path("drawbridge.toml");
    println!("{}", run_command(&["cdr", "verify", "--config", &file.display().to_string()]).trim_end());
    println!("{kills} kills under {rate} calls/s");
    let rows = rows(&postgres);
    let crashed = check(&book, &rows);
    assert!(crashed > 0, "no call was up when the box was killed");
    let ended = rows.values().flatten().filter(|row| row.ended_by == "crash").map(|row| row.ended);
    let off = ended.filter_map(|ended| died.iter().map(|died| (died - ended).abs()).min()).max().unwrap_or(0);
    println!("calls that a kill ended ended within {off} µs of it");
    assert!(off <= within(), "{off} µs");
}

#[test]
fn a_disk_that_is_full_stops_no_call_and_loses_no_record() {
    let place = Place::new("full");
    let postgres = Postgres::start(&place);
    let configuration = configuration(&place, &postgres);
    let Some(drawbridge) = Drawbridge::start_on_small_disk(&place, &configuration, 4096) else {
        skipped("a disk that is full", "it takes the privilege to mount");
        return;
    };
    let crowd = Crowd::start(&place, 40);
    std::thread::sleep(Duration::from_millis(800));
    let filling = drawbridge.inside(&place.path("data/filling"));
    // Up to the last octet: what fails is the write.
    let _ = std::fs::write(&filling, vec![0; 8 << 20]);
    until("the journal says that it takes nothing", Duration::from_secs(20), || {
        (drawbridge.metrics().sum("drawbridge_cdr_journal_up") == 0.0).then_some(())
    });
    let health = drawbridge.ask("GET", "/health").json();
    let journal = health["parts"].as_array().unwrap().iter().find(|part| part["name"] == "journal").unwrap();
    assert_eq!(journal["status"], "degraded", "{health}");
    let calls = || drawbridge.metrics().sum("drawbridge_calls_answered_total");
    let before = calls();
    std::thread::sleep(Duration::from_secs(2));
    assert!(calls() > before + 20.0, "calls go on");
    assert!(drawbridge.metrics().sum("drawbridge_cdr_pending") > 20.0);
    std::fs::remove_file(&filling).unwrap();
    let book = crowd.stop();
    wait_for_all(&drawbridge);
    let metrics = drawbridge.metrics();
    assert_eq!(metrics.sum("drawbridge_cdr_lost_total"), 0.0);
    assert_eq!(metrics.sum("drawbridge_cdr_journal_up"), 1.0);
    drawbridge.stop();
    assert_eq!(check(&book, &rows(&postgres)), 0);
}

/// Every call that was seen was answered and ended.
fn unaffected(book: &Book) {
    let broken: Vec<_> =
        book.caller.iter().filter(|(_, seen)| seen.answered.is_none() || seen.ended.is_none()).collect();
    assert!(broken.is_empty(), "{} of {} calls: {broken:?}", broken.len(), book.caller.len());
}

fn part(drawbridge: &Drawbridge, name: &str) -> String {
    let health = drawbridge.ask("GET", "/health").json();
    let parts = health["parts"].as_array().unwrap();
    parts.iter().find(|part| part["name"] == name).unwrap().to_string()
}

#[test]
fn a_journal_that_is_read_only_is_loud_stops_no_call_and_loses_no_record() {
    let place = Place::new("readonly");
    let postgres = Postgres::start(&place);
    let Some(disk) = Disk::new(&place) else {
        skipped("a journal that is read-only", "there is no C compiler");
        return;
    };
    let drawbridge = Drawbridge::start_on(&disk, &place, &configuration(&place, &postgres));
    let crowd = Crowd::start(&place, 40);
    std::thread::sleep(Duration::from_millis(800));
    disk.takes_nothing();
    until("the journal says that it takes nothing", Duration::from_secs(20), || {
        (drawbridge.metrics().sum("drawbridge_cdr_journal_up") == 0.0).then_some(())
    });
    let health = part(&drawbridge, "journal");
    assert!(health.contains("degraded") && health.contains("detail"), "{health}");
    let answered = || drawbridge.metrics().sum("drawbridge_calls_answered_total");
    let before = answered();
    std::thread::sleep(Duration::from_secs(2));
    assert!(answered() > before + 20.0, "calls go on");
    assert!(drawbridge.metrics().sum("drawbridge_cdr_pending") > 20.0, "their records wait in memory");
    assert!(drawbridge.log().contains("the journal takes no records"), "{}", drawbridge.log());
    disk.is_well();
    let book = crowd.stop();
    wait_for_all(&drawbridge);
    assert_eq!(drawbridge.metrics().sum("drawbridge_cdr_lost_total"), 0.0);
    assert_eq!(drawbridge.metrics().sum("drawbridge_cdr_journal_up"), 1.0);
    drawbridge.stop();
    unaffected(&book);
    assert_eq!(check(&book, &rows(&postgres)), 0);
}

#[test]
fn a_disk_that_takes_seconds_for_a_commit_holds_up_no_call_and_says_so() {
    let place = Place::new("slowdisk");
    let postgres = Postgres::start(&place);
    let Some(disk) = Disk::new(&place) else {
        skipped("a slow disk", "there is no C compiler");
        return;
    };
    let drawbridge = Drawbridge::start_on(&disk, &place, &configuration(&place, &postgres));
    let crowd = Crowd::start(&place, 40);
    std::thread::sleep(Duration::from_millis(500));
    disk.takes(Duration::from_secs(8));
    until("it is said how long the disk takes", Duration::from_secs(30), || {
        part(&drawbridge, "journal").contains("has been taking a commit for").then_some(())
    });
    let answered = || drawbridge.metrics().sum("drawbridge_calls_answered_total");
    let before = answered();
    std::thread::sleep(Duration::from_secs(1));
    assert!(answered() > before + 10.0, "calls go on");
    disk.is_well();
    let book = crowd.stop();
    wait_for_all(&drawbridge);
    assert_eq!(drawbridge.metrics().sum("drawbridge_cdr_lost_total"), 0.0);
    drawbridge.stop();
    unaffected(&book);
    assert_eq!(check(&book, &rows(&postgres)), 0);
}

#[test]
fn a_disk_that_hangs_does_not_keep_the_box_from_ending_and_loses_no_record() {
    let place = Place::new("hungdisk");
    let postgres = Postgres::start(&place);
    let Some(disk) = Disk::new(&place) else {
        skipped("a disk that hangs", "there is no C compiler");
        return;
    };
    let drawbridge = Drawbridge::start_on(&disk, &place, &configuration(&place, &postgres));
    let crowd = Crowd::start(&place, 40);
    std::thread::sleep(Duration::from_millis(500));
    disk.takes(Duration::from_secs(300));
    std::thread::sleep(Duration::from_secs(1));
    let book = crowd.stop();
    drawbridge.stop();
    disk.is_well();
    let drawbridge = Drawbridge::start_on(&disk, &place, &configuration(&place, &postgres));
    wait_for_all(&drawbridge);
    drawbridge.stop();
    unaffected(&book);
    assert_eq!(check(&book, &rows(&postgres)), 0);
}

#[test]
fn a_network_that_is_cut_in_the_middle_of_a_batch_loses_no_record_and_doubles_none() {
    let place = Place::new("cut");
    let postgres = Postgres::start(&place);
    let line = Cut::new((place.ip(8), 5432).into(), postgres.address());
    let url = Postgres::url_at((place.ip(8), 5432).into());
    let drawbridge = Drawbridge::start(&place, &configuration_by(&place, &url));
    let crowd = Crowd::start(&place, 60);
    std::thread::sleep(Duration::from_millis(500));
    for round in 0..10_i64 {
        match round % 3 {
            0 => line.after(1 + round * 1_777),
            1 => line.before_the_answer(),
            _ => line.silently(),
        }
        until("it is cut", Duration::from_secs(30), || line.is_cut().then_some(()));
        std::thread::sleep(Duration::from_millis(400));
        line.mend();
        std::thread::sleep(Duration::from_millis(300));
    }
    let book = crowd.stop();
    wait_for_all(&drawbridge);
    drawbridge.stop();
    let file = place.path("drawbridge.toml");
    println!("{}", run_command(&["cdr", "verify", "--config", &file.display().to_string()]).trim_end());
    println!("{} cuts", line.cuts());
    unaffected(&book);
    assert_eq!(check(&book, &rows(&postgres)), 0);
    assert!(line.cuts() >= 5);
}

fn wait_for_all(drawbridge: &Drawbridge) {
    until("nobody calls, and PostgreSQL has all", Duration::from_secs(60), || {
        let metrics = drawbridge.metrics();
        let sum = |name: &str| metrics.sum(name) as i64;
        let open = sum("drawbridge_cdr_open") + sum("drawbridge_cdr_pending");
        (open == 0 && sum("drawbridge_postgres_up") == 1 && sum("drawbridge_postgres_behind") == 0)
            .then_some(())
    });
}

/// Holds the rows against what the phones saw; how many of them say that the box died.
fn check(book: &Book, rows: &BTreeMap<String, Vec<Row>>) -> u32 {
    let mut wrong = Vec::new();
    let (mut crashed, mut late) = (0, 0);
    for (call_id, seen) in &book.caller {
        let Some(rows) = rows.get(call_id) else {
            wrong.push(format!("no record of {call_id}: {seen:?}"));
            continue;
        };
        let [row] = &rows[..] else {
            wrong.push(format!("{} records of {call_id}: {rows:?}", rows.len()));
            continue;
        };
        crashed += u32::from(row.ended_by == "crash");
        if !row.is_last || seen.answered.is_some() != (row.disposition == "answered") {
            // The 200 may have been on its way to the caller when the process died.
            let on_its_way = seen.answered.is_none() && row.ended_by == "crash";
            if !on_its_way || !row.is_last {
                wrong.push(format!("{call_id}: {seen:?} and {row:?}"));
            }
        }
        // What it has told a phone it had kept before.
        if seen.ended.is_some() && row.ended_by != "caller" {
            wrong.push(format!("{call_id}: its BYE was answered, and the record says otherwise: {row:?}"));
        }
        for (phone, box_) in [(seen.answered, row.answered), (seen.ended, Some(row.ended))] {
            if let (Some(phone), Some(box_)) = (phone, box_) {
                late = late.max((phone - box_).abs());
            }
        }
    }
    let named: BTreeSet<_> = rows.values().flatten().map(|row| row.b_call_id.as_str()).collect();
    for call_id in &book.callee {
        if !named.contains(call_id.as_str()) {
            wrong.push(format!("no record of the INVITE {call_id} that the callee got"));
        }
    }
    let (calls, total) = (book.caller.len(), rows.values().map(Vec::len).sum::<usize>());
    println!(
        "{calls} calls seen, {total} rows, {crashed} of them ended by a crash, \
         times within {late} µs of the phones'"
    );
    assert!(
        wrong.is_empty(),
        "{} of {calls} calls:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    // What a phone's own thread is late by on a loaded machine is in this figure.
    assert!(late <= within(), "{late} µs");
    crashed
}
