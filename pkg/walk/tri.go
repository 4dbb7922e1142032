// SPDX-License-Identifier: Apache-2.0

package walk

// A Tri says how many packets of the set match.
type Tri uint8

// Some and Unknown both leave the question open. Some means that the rule was
// understood and depends on what the set leaves free (the source, a counter);
// Unknown means that it was not understood, or depends on a mark set elsewhere.
const (
	No Tri = iota
	Yes
	Some
	Unknown
)

// weaker returns the less certain of two answers that are not No.
func weaker(a, b Tri) Tri { return max(a, b) }

func (t Tri) not() Tri {
	switch t {
	case No:
		return Yes
	case Yes:
		return No
	case Some, Unknown:
	}
	return t
}

func yesIf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}
