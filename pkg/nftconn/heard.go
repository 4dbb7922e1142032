// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"bytes"
	"reflect"
	"slices"

	"github.com/portguard/portguard/pkg/nft"
)

// heard keeps an answer, or an error, by its question, for Same.
func (r *Reader) heard(question string, answer any, err error) {
	if err != nil {
		answer = err.Error()
	}
	r.answers[question] = answer
}

// Same reports whether both Readers asked the same and were told the same. What rules and
// elements have counted does not matter. Handles do: a rule that was taken away and put
// back has another one.
func (r *Reader) Same(o *Reader) bool {
	if len(r.answers) != len(o.answers) {
		return false
	}
	for question, a := range r.answers {
		b, asked := o.answers[question]
		if !asked || !same(a, b) {
			return false
		}
	}
	return true
}

func same(a, b any) bool {
	switch x := a.(type) {
	case []nft.Rule:
		y, ok := b.([]nft.Rule)
		return ok && slices.EqualFunc(x, y, sameRule)
	case []nft.Element:
		y, ok := b.([]nft.Element)
		return ok && slices.EqualFunc(x, y, sameElement)
	}
	return reflect.DeepEqual(a, b)
}

func sameRule(a, b nft.Rule) bool {
	return a.Handle == b.Handle && a.Chain == b.Chain && a.Comment == b.Comment && slices.EqualFunc(a.Exprs, b.Exprs, func(x, y nft.Expr) bool {
		return x.Name == y.Name && (counts(x.Name) || bytes.Equal(x.Attrs, y.Attrs))
	})
}

// counts tells the expressions whose attributes change with every packet.
func counts(expr string) bool { return expr == "counter" || expr == "quota" || expr == "last" }

func sameElement(a, b nft.Element) bool {
	a.Packets = b.Packets
	return reflect.DeepEqual(a, b)
}
