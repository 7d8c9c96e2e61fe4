//! FastCGI records as the specification 1.0 defines them, over everything that arrived at once: slow, and sharing
//! nothing with the library.

/// What is in a stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A record that is allowed there, with as much of its content as arrived.
    Record { kind: u8, request: u16, take: Take, content: Vec<u8>, length: usize, padding: usize },
    /// A record that breaks a rule of its own; the next one follows it: request, and length with header and padding.
    Refused(u16, usize),
}

/// How a record is taken (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    Whole,
    Pieces,
    End,
    Unknown,
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The bytes that are left are no whole record; at least this many are missing.
    Partial { bytes: usize, missing: usize },
    /// The connection is in error: one of these rules is broken.
    Broken(Vec<Rule>),
}

/// What can be wrong with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Version,
    Direction,
    Request,
}

/// Appendix A, with the numbers of section 8: type, sent by the web server, management, stream.
const TYPES: [(u8, bool, bool, bool); 11] = [
    (9, true, true, false),   // FCGI_GET_VALUES
    (10, false, true, false), // FCGI_GET_VALUES_RESULT
    (11, false, true, false), // FCGI_UNKNOWN_TYPE
    (1, true, false, false),  // FCGI_BEGIN_REQUEST
    (2, true, false, false),  // FCGI_ABORT_REQUEST
    (3, false, false, false), // FCGI_END_REQUEST
    (4, true, false, true),   // FCGI_PARAMS
    (5, true, false, true),   // FCGI_STDIN
    (8, true, false, true),   // FCGI_DATA
    (6, false, false, true),  // FCGI_STDOUT
    (7, false, false, true),  // FCGI_STDERR
];

/// The length of the content of a type that has one length only (sections 4.2, 5.1, 5.4, 5.5).
const LENGTHS: [(u8, usize); 4] = [(1, 8), (2, 0), (3, 8), (11, 8)];

/// Everything in these bytes. A discrete record that is longer than `discrete_max` is refused.
pub(super) fn decode(bytes: &[u8], from_web_server: bool, discrete_max: usize) -> (Vec<Item>, End) {
    let mut items = Vec::new();
    let mut left = bytes;
    loop {
        if left.len() < 8 {
            return (items, End::Partial { bytes: left.len(), missing: 8 - left.len() });
        }
        let (version, kind) = (left[0], left[1]);
        let request = u16::from(left[2]) * 256 + u16::from(left[3]);
        let (length, padding) = (usize::from(left[4]) * 256 + usize::from(left[5]), usize::from(left[6]));
        let known = TYPES.iter().find(|known| known.0 == kind);
        let mut broken = Vec::new();
        if version != 1 {
            broken.push(Rule::Version);
        }
        if let Some(&(_, by_web_server, is_management, _)) = known {
            if by_web_server != from_web_server {
                broken.push(Rule::Direction);
            }
            if is_management != (request == 0) {
                broken.push(Rule::Request);
            }
        }
        if !broken.is_empty() {
            return (items, End::Broken(broken));
        }
        let whole = 8 + length + padding;
        let take = match known {
            None => Take::Unknown,
            Some((_, _, _, false)) => Take::Whole,
            Some((_, _, _, true)) if length == 0 => Take::End,
            Some((_, _, _, true)) => Take::Pieces,
        };
        let has_its_length = LENGTHS.iter().all(|&(of, is)| of != kind || is == length);
        let is_refused = !has_its_length || take == Take::Whole && whole > discrete_max;
        if take == Take::Whole && !is_refused && left.len() < whole {
            return (items, End::Partial { bytes: left.len(), missing: whole - left.len() });
        }
        if is_refused {
            items.push(Item::Refused(request, whole));
        } else {
            let content = left[8..left.len().min(8 + length)].to_vec();
            items.push(Item::Record { kind, request, take, content, length, padding });
        }
        if left.len() < whole {
            // What is there of it is taken.
            return (items, End::Partial { bytes: 0, missing: whole - left.len() });
        }
        left = &left[whole..];
    }
}
