// SPDX-License-Identifier: Apache-2.0

package walk

// bits is a number of packets, of which some bits are known, and others may be guessed. Of
// those that are free, as they are drawn or of several numbers, some packets have 0 and some 1.
type bits struct{ value, known, guessed, free uint32 }

// with restricts the number to those with n&mask == value, or to the others. It
// reports whether any number is left, and whether the answer was known before, or as
// guessed. Free bits have any values together.
func (b bits) with(value, mask uint32, not bool) (out bits, some, sure bool) {
	if b.guessed&mask != 0 {
		out, some, _ = bits{value: b.value & b.known, known: b.known, free: b.free}.with(value, mask, not)
		if b.unexpected(value, mask, not) {
			return out, some, false
		}
		_, _, sure = b.asGuessed().with(value, mask, not)
		out.guessed = b.guessed &^ out.known
		out.value |= b.value & out.guessed
		return out, true, sure
	}
	common := b.known & mask
	differs := b.value&common != value&common || value&^mask != 0
	open := mask &^ b.known
	sure = open&^b.free == 0
	switch {
	case differs:
		return b, not, true
	case open == 0:
		return b, !not, true
	case !not:
		return bits{value: b.value&^mask | value, known: b.known | mask, free: b.free &^ mask}, true, sure
	case open&(open-1) == 0: // one bit is open: it must be the other one
		return bits{value: b.value | open&^value, known: b.known | open, free: b.free &^ open}, true, sure
	}
	return b, true, sure
}

// asGuessed is the number if the guess is right.
func (b bits) asGuessed() bits {
	return bits{value: b.value, known: b.known | b.guessed, free: b.free}
}

// unexpected reports whether with would leave only numbers that are not as guessed.
func (b bits) unexpected(value, mask uint32, not bool) bool {
	_, some, _ := b.asGuessed().with(value, mask, not)
	return b.guessed&mask != 0 && !some
}

// number is one of which all bits are known, guess one that is only to be expected.
func number(n uint32) bits { return bits{value: n, known: ^uint32(0)} }

// anyNumber is one that some packets have, whichever it is.
func anyNumber() bits { return bits{free: ^uint32(0)} }

func guess(n uint32) bits { return bits{value: n, guessed: ^uint32(0)} }

func (b bits) and(mask uint32) bits {
	return bits{b.value & mask, b.known | ^mask, b.guessed & mask, b.free & mask}
}

// told are the bits that are not open.
func (b bits) told() uint32 { return b.known | b.guessed | b.free }

// or is a number of packets that have one of the two: both numbers are there.
func (b bits) or(o bits) bits {
	differ := b.value ^ o.value | b.free | o.free
	known := b.known & o.known &^ differ
	guessed := (b.known | b.guessed) & (o.known | o.guessed) &^ differ &^ known
	return bits{b.value & (known | guessed), known, guessed, b.told() & o.told() & differ}
}

func (b bits) xor(o bits) bits {
	known := b.known & o.known
	guessed := (b.known | b.guessed) & (o.known | o.guessed) &^ known
	return bits{(b.value ^ o.value) & (known | guessed), known, guessed, (b.free | o.free) & b.told() & o.told()}
}
