//! Changes lines as wholes: a changed byte mostly makes a line that is no longer read, and what the tracker judges is
//! in which order what came.

use libfuzzer_sys::fuzzer_mutate;

/// Moves, repeats, drops a line or gives it the time of another one; else leaves it to libFuzzer. Returns the new size.
pub fn mutate(bytes: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut random = Random(u64::from(seed) + 1);
    let mut lines: Vec<Vec<u8>> = bytes[..size].split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.len() < 2 {
        return fuzzer_mutate(bytes, size, most);
    }
    let (from, to) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(8) {
        0 => lines.swap(from, to),
        1 => lines.insert(to, lines[from].clone()),
        2 => {
            let line = lines.remove(from);
            lines.insert(to.min(lines.len()), line);
        }
        3 => {
            lines.remove(from);
        }
        4 => {
            // A group of numbers of another line: its time, a pid, an id.
            let which = random.below(12);
            if let (Some(new), Some(old)) = (number(&lines[from], which), number(&lines[to], which)) {
                let new = lines[from][new].to_vec();
                lines[to].splice(old, new);
            }
        }
        _ => return fuzzer_mutate(bytes, size, most),
    }
    let changed = lines.join(&b'\n');
    let size = changed.len().min(most);
    bytes[..size].copy_from_slice(&changed[..size]);
    size
}

/// Where the number is that is the `which`th of a line.
fn number(line: &[u8], which: usize) -> Option<std::ops::Range<usize>> {
    let begins = |at: &usize| line[*at].is_ascii_digit() && (*at == 0 || !line[*at - 1].is_ascii_digit());
    let from = (0..line.len()).filter(begins).nth(which)?;
    let length = line[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some(from..from + length)
}

/// The same seed gives the same change, as libFuzzer wants it (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}
