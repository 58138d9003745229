//! What the real kernel showed: the recordings, one compressed archive a lab.
//!
//! `recordings/README.md` tells where they come from and how an archive is built.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

use podhop_parity::judge::{self, Case};

/// The labs that were recorded.
pub const LABS: [&str; 11] = [
    "labA-off",
    "labA-on",
    "labA-off-nf0",
    "labA-off-slow",
    "labA-off-k618",
    "labA-off-legacy",
    "labB-off",
    "labB-on",
    "labC-off",
    "labC-on",
    "labD-off",
];

/// The recordings of one lab.
#[derive(Clone, Debug)]
pub struct Lab {
    /// The archive, unpacked.
    bytes: Vec<u8>,
    /// Where the files of each case are.
    first: BTreeMap<String, Files>,
    second: BTreeMap<String, Files>,
}

type Files = BTreeMap<String, Range<usize>>;

impl Lab {
    /// The lab of that name, one of [`LABS`], from this package's `recordings` folder.
    ///
    /// # Panics
    /// There is no such archive, or it is broken: the checkout is not whole. [`Lab::read`] gives an error instead.
    #[must_use]
    pub fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(format!("{name}.gz"));
        Self::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }

    /// Reads an archive.
    ///
    /// # Errors
    /// Those of reading the file; `InvalidData` if it is not an archive of a lab.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::unpack(File::open(path)?)
    }

    /// The names of its cases, sorted.
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        self.first.keys().map(String::as_str)
    }

    /// What the kernel showed in a case.
    #[must_use]
    pub fn case(&self, name: &str) -> Option<Case> {
        self.first.get(name).map(|files| self.extract(files))
    }

    /// What the kernel showed in another run of the case, where its two runs differ.
    #[must_use]
    pub fn second(&self, name: &str) -> Option<Case> {
        self.second.get(name).map(|files| self.extract(files))
    }

    fn extract(&self, files: &Files) -> Case {
        let mut case = Case::default();
        for (name, range) in files {
            let bytes = &self.bytes[range.clone()];
            if name == judge::ORDER {
                case.order = Some(String::from_utf8_lossy(bytes).into_owned());
            } else {
                case.files.insert(name.clone(), bytes.to_vec());
            }
        }
        case
    }

    fn unpack(archive: impl Read) -> io::Result<Self> {
        /// An archive that unpacks to more is not one of ours.
        const MAX_BYTES: u64 = 256 << 20;
        let mut bytes = Vec::new();
        GzDecoder::new(archive).take(MAX_BYTES).read_to_end(&mut bytes)?;
        let mut lab = Self { bytes: Vec::new(), first: BTreeMap::new(), second: BTreeMap::new() };
        let mut at = 0;
        while at < bytes.len() {
            let (path, range) = entry(&bytes, at).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("byte {at}: not an entry of a lab's archive"))
            })?;
            at = range.end + 1;
            let (run, path) = match path.strip_prefix("second/") {
                Some(path) => (&mut lab.second, path),
                None => (&mut lab.first, path.as_str()),
            };
            if let Some((case, file)) = path.split_once('/') {
                run.entry(case.to_owned()).or_default().insert(file.to_owned(), range);
            }
        }
        lab.bytes = bytes;
        Ok(lab)
    }
}

/// The path and the place of the file whose header starts at `at`: `=== PATH LENGTH\n`, the bytes, `\n`.
fn entry(bytes: &[u8], at: usize) -> Option<(String, Range<usize>)> {
    let rest = bytes.get(at..)?.strip_prefix(b"=== ")?;
    let end_of_line = rest.iter().position(|&byte| byte == b'\n')?;
    let (path, len) = std::str::from_utf8(&rest[..end_of_line]).ok()?.rsplit_once(' ')?;
    let start = at + 4 + end_of_line + 1;
    let end = start.checked_add(len.parse().ok()?)?;
    (bytes.get(end) == Some(&b'\n')).then(|| (path.to_owned(), start..end))
}

/// Do two runs of the real kernel agree on a case?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stability {
    /// In every record, conntrack event and rule counter; with `times` in their timing too.
    Equal {
        /// Does the timing agree under [`judge::Options::times`]?
        times: bool,
    },
    /// They differ; either is right.
    Differs {
        /// The reason.
        why: String,
    },
}

/// The table of `recordings/STABLE.md` by `LAB/CASE`.
#[must_use]
pub fn stable() -> BTreeMap<String, Stability> {
    parse_stable(include_str!("../recordings/STABLE.md"))
}

/// `- LAB/CASE` or `- LAB/CASE (T)` for a case that is equal, `* LAB/CASE: REASON` for one that is not.
fn parse_stable(text: &str) -> BTreeMap<String, Stability> {
    let parse_line = |line: &str| {
        if let Some(case) = line.strip_prefix("- ") {
            let (case, times) = case.strip_suffix(" (T)").map_or((case, false), |case| (case, true));
            return Some((case.to_owned(), Stability::Equal { times }));
        }
        let (case, why) = line.strip_prefix("* ")?.split_once(": ")?;
        Some((case.to_owned(), Stability::Differs { why: why.to_owned() }))
    };
    text.lines().filter_map(parse_line).collect()
}

/// Builds the store in `to`: an archive for each of [`LABS`] out of `from/LAB` and `from/second/LAB`, and a copy of the
/// table `STABLE.md` that stands beside `from`. The same input gives the same bytes.
///
/// # Errors
/// Those of reading and writing; a lab that is not there.
pub fn pack(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for lab in LABS {
        fs::write(to.join(format!("{lab}.gz")), pack_lab(from, lab)?)?;
    }
    fs::write(to.join("STABLE.md"), fs::read(from.join("../STABLE.md"))?)
}

fn pack_lab(from: &Path, lab: &str) -> io::Result<Vec<u8>> {
    // No name and no time in the header: the same bytes on every day.
    let mut archive = GzBuilder::new().write(Vec::new(), Compression::best());
    pack_run(&from.join(lab), "", &mut archive)?;
    let second = from.join("second").join(lab);
    if second.is_dir() {
        pack_run(&second, "second/", &mut archive)?;
    }
    archive.finish()
}

fn pack_run(folder: &Path, prefix: &str, archive: &mut impl Write) -> io::Result<()> {
    for case in sorted_names(folder)? {
        let folder = folder.join(&case);
        // What stands beside the cases (the lab's initial state) is not judged.
        if !folder.is_dir() {
            continue;
        }
        for file in sorted_names(&folder)? {
            if file != judge::ORDER && !judge::is_part_of_case(&file) {
                continue;
            }
            let bytes = fs::read(folder.join(&file))?;
            let bytes = if file == judge::STATE { counters_alone(&bytes) } else { bytes };
            writeln!(archive, "=== {prefix}{case}/{file} {}", bytes.len())?;
            archive.write_all(&bytes)?;
            archive.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn sorted_names(folder: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
    names.sort_unstable();
    Ok(names)
}

/// `state.diff` cut down to the lines that the judge compares.
fn counters_alone(state: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(state);
    text.lines().filter(|line| judge::is_counter(line)).flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
    }

    #[test]
    fn a_lab_that_is_packed_and_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(
            folder.path(),
            &[
                ("lab/ping/order.txt", "=== not a header 3\nrow\n"),
                ("lab/ping/state.diff", "-[0:0] -A X\n+[1:84] -A X -j Y\n+other\n"),
                ("lab/ping/n.eth0.pcap", "not judged"),
                ("lab/empty/cmd.log", ""),
                ("lab/state.initial.gz", "not a case"),
                ("second/lab/ping/order.txt", "another row"),
            ],
        );
        let archive = pack_lab(folder.path(), "lab").expect("an archive");
        assert_eq!(archive, pack_lab(folder.path(), "lab").expect("the same archive"));
        let lab = Lab::unpack(archive.as_slice()).expect("a lab");
        assert_eq!(lab.cases().collect::<Vec<_>>(), ["empty", "ping"]);
        let ping = lab.case("ping").expect("a case");
        assert_eq!(ping.order.as_deref(), Some("=== not a header 3\nrow\n"));
        assert_eq!(ping.files, [("state.diff".into(), b"+[1:84] -A X -j Y\n".to_vec())].into());
        let second = lab.second("ping").expect("another run");
        assert_eq!(second.order.as_deref(), Some("another row"));
        assert_eq!((lab.case("other"), lab.second("empty")), (None, None));
    }

    #[test]
    fn broken_archives_are_errors() {
        let gz = |text: &str| {
            let mut archive = GzBuilder::new().write(Vec::new(), Compression::best());
            archive.write_all(text.as_bytes()).and_then(|()| archive.finish()).expect("in memory")
        };
        let table =
            ["x", "=== a/b", "=== a/b x\n\n", "=== a/b 2\nx\n", "=== a/b 1\nxy", "=== a/b 18446744073709551615\n"];
        for text in table {
            let kind = Lab::unpack(gz(text).as_slice()).map_err(|why| why.kind()).expect_err("not an archive");
            assert_eq!(kind, io::ErrorKind::InvalidData, "{text:?}");
        }
        assert!(Lab::unpack(&b"no gzip"[..]).is_err());
    }

    #[test]
    fn the_table_of_stable_cases() {
        let table = parse_stable("# T\n- l/a (T)\n- l/b\n* l/c: its reason: odd\n\n- l/d (T)\n");
        let equal = |times| Stability::Equal { times };
        let want = [
            ("l/a", equal(true)),
            ("l/b", equal(false)),
            ("l/c", Stability::Differs { why: "its reason: odd".into() }),
            ("l/d", equal(true)),
        ];
        assert_eq!(table, want.map(|(case, stability)| (case.to_owned(), stability)).into());
    }
}
