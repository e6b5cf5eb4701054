//! Fortran order to C order, of arrays that need not fit into memory.

use crate::error::Result;

/// The extent of a tile, in elements: two tiles of the longest elements are 4 MiB.
const TILE: u64 = 512;

/// Copies an array whose first index goes fastest to one whose last index does. `read` fills bytes from an offset in the
/// one, `write` takes them for an offset in the other; `width` is the length of an element.
///
/// The first index runs through neighbours in the one, the last in the other: so a tile of these two is read in runs, turned
/// in memory, and written in runs.
///
/// # Errors
/// Those of `read` and `write`.
pub(super) fn transpose(
    shape: &[u64],
    width: u64,
    read: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>,
    write: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let shape: Vec<u64> = shape.iter().copied().filter(|extent| *extent != 1).collect();
    let strides = |extents: &mut dyn Iterator<Item = &u64>| {
        let mut next = width;
        let mut strides = Vec::new();
        for extent in extents {
            strides.push(next);
            next *= extent;
        }
        strides
    };
    let from = strides(&mut shape.iter());
    let mut to = strides(&mut shape.iter().rev());
    to.reverse();
    let [first, .., last] = &*shape else {
        // One index alone goes fastest in both.
        let mut line = vec![0; (shape.iter().product::<u64>() * width) as usize];
        read(0, &mut line)?;
        return write(0, &line);
    };
    let end = shape.len() - 1;
    let mut middle = vec![0; end - 1];
    let mut tiles = Tiles { width: width as usize, read: Vec::new(), turned: Vec::new() };
    loop {
        let place = |strides: &[u64]| -> u64 {
            middle.iter().zip(&strides[1..]).map(|(index, stride)| index * stride).sum()
        };
        let (begin_from, begin_to) = (place(&from), place(&to));
        for a in (0..*first).step_by(TILE as usize) {
            for b in (0..*last).step_by(TILE as usize) {
                let (rows, columns) = (TILE.min(first - a), TILE.min(last - b));
                tiles.turn(
                    (rows as usize, columns as usize),
                    &mut |column, run| read(begin_from + a * width + (b + column) * from[end], run),
                    &mut |row, run| write(begin_to + (a + row) * to[0] + b * width, run),
                )?;
            }
        }
        // The next of the indexes in between.
        let mut digits = middle.iter_mut().zip(&shape[1..]);
        if !digits.any(|(index, extent)| {
            *index = (*index + 1) % extent;
            *index != 0
        }) {
            return Ok(());
        }
    }
}

/// Room for a tile, as it is read and as it is written.
struct Tiles {
    width: usize,
    read: Vec<u8>,
    turned: Vec<u8>,
}

impl Tiles {
    fn turn(
        &mut self,
        (rows, columns): (usize, usize),
        read: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>,
        write: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let width = self.width;
        self.read.resize(rows * columns * width, 0);
        self.turned.resize(rows * columns * width, 0);
        for (column, run) in self.read.chunks_exact_mut(rows * width).enumerate() {
            read(column as u64, run)?;
            for (row, element) in run.chunks_exact(width).enumerate() {
                let at = (row * columns + column) * width;
                self.turned[at..at + width].copy_from_slice(element);
            }
        }
        for (row, run) in self.turned.chunks_exact(columns * width).enumerate() {
            write(row as u64, run)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Element by element.
    fn slowly(shape: &[u64], width: usize, from: &[u8]) -> Vec<u8> {
        let count: u64 = shape.iter().product();
        let mut out = vec![0; from.len()];
        for c_order in 0..count {
            let (mut rest, mut at, mut step) = (c_order, 0, count);
            for extent in shape.iter().rev() {
                step /= extent;
                at += rest % extent * step;
                rest /= extent;
            }
            let (to, at) = (c_order as usize * width, at as usize * width);
            out[to..to + width].copy_from_slice(&from[at..at + width]);
        }
        out
    }

    #[test]
    fn every_element_comes_to_its_place() {
        for (shape, width) in [
            (&[][..], 4),
            (&[7], 2),
            (&[1, 5, 1], 8),
            (&[2, 3], 1),
            (&[3, 1, 2, 4], 4),
            (&[600, 3, 700], 2),
            (&[513, 1025], 4),
            (&[2, 2, 2, 2, 2], 8),
        ] {
            let count: u64 = shape.iter().product();
            let from: Vec<u8> = (0..count * width).map(|at| (at * 31 % 251) as u8).collect();
            let mut out = vec![0; from.len()];
            let mut read = |at: u64, into: &mut [u8]| {
                into.copy_from_slice(&from[at as usize..at as usize + into.len()]);
                Ok(())
            };
            let mut write = |at: u64, bytes: &[u8]| {
                out[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
                Ok(())
            };
            transpose(shape, width, &mut read, &mut write).unwrap();
            assert_eq!(out, slowly(shape, width as usize, &from), "{shape:?}");
        }
    }
}
