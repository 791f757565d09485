use std::path::PathBuf;

use super::{edit, parse};

/// A collection of descriptions from real devices, where it is at hand beside the workspace.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/sdp");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = entries.map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "sdp"));
    files.map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect()
}

/// Written apart from the code under test, and by prefix only.
fn is_owned(line: &[u8]) -> bool {
    let owned: [&[u8]; 8] =
        [b"o=", b"c=", b"m=", b"a=rtcp:", b"a=rtcp-mux", b"a=candidate:", b"a=ice-", b"a=alt:"];
    owned.iter().any(|prefix| line.starts_with(prefix))
}

fn unowned(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_owned(line)).collect()
}

#[test]
fn what_real_devices_send_changes_in_owned_lines_only() {
    let all = corpus();
    assert!(all.is_empty() || all.len() == 44, "{} descriptions", all.len());
    for (name, before) in all {
        let sdp = parse(&before);
        let after = sdp.rewrite(&edit());
        assert_eq!(unowned(&after), unowned(&before), "{name}");

        let again = parse(&after);
        assert_eq!(again.streams().len(), sdp.streams().len(), "{name}");
        for (index, (old, new)) in sdp.streams().iter().zip(again.streams()).enumerate() {
            let kept = |stream: &sip::Stream<'_>| {
                (stream.kind.to_vec(), stream.proto.to_vec(), stream.formats.to_vec())
            };
            assert_eq!(kept(old), kept(new), "{name}");
            assert_eq!(old.direction(), new.direction(), "{name}");
            assert_eq!(old.is_held_address(), new.is_held_address(), "{name}");
            assert_eq!(old.codec(), new.codec(), "{name}");
            let port = if old.is_rejected() { 0 } else { super::PORTS[index].rtp };
            assert_eq!(new.port, port, "{name}");
            if !new.is_held_address() {
                assert_eq!(new.address().unwrap().ip(), Some(super::RELAY), "{name}");
            }
        }
    }
}
