// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeysOfManyOwnersDiffer(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	seen := make(map[string]Owner, 100_000)
	shape := regexp.MustCompile(`^[A-Z2-7]{24}$`)
	for i := range 100_000 {
		o := Owner{ContainerID: fmt.Sprintf("%x", rnd.Uint64()), IfName: fmt.Sprintf("eth%d", i%3)}
		k := o.Key()
		if other, ok := seen[k]; ok && !o.Same(other) {
			t.Fatalf("%+v and %+v have one key %s", o, other, k)
		}
		if !shape.MatchString(k) {
			t.Fatalf("key %q does not fit a chain name", k)
		}
		seen[k] = o
	}
}

func TestOwnerIdentity(t *testing.T) {
	base := Owner{Network: "net", ContainerID: "abc", IfName: "eth0"}
	for _, tt := range []struct {
		name string
		o    Owner
		same bool
	}{
		{"a renamed network is the same owner", Owner{Network: "other", ContainerID: "abc", IfName: "eth0"}, true},
		{"a known pod is the same owner", Owner{Network: "net", ContainerID: "abc", IfName: "eth0", PodName: "p"}, true},
		{"another interface is another owner", Owner{Network: "net", ContainerID: "abc", IfName: "eth1"}, false},
		{"another container is another owner", Owner{Network: "net", ContainerID: "abd", IfName: "eth0"}, false},
		{"the border between ID and interface counts", Owner{Network: "net", ContainerID: "abce", IfName: "th0"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := base.Same(tt.o); got != tt.same {
				t.Errorf("same: got %v, want %v", got, tt.same)
			}
			if got := base.Key() == tt.o.Key(); got != tt.same {
				t.Errorf("same key: got %v, want %v", got, tt.same)
			}
		})
	}
}

// The key names chains of running pods and must not change between versions.
func TestKeyIsStable(t *testing.T) {
	if got, want := (Owner{ContainerID: "abc", IfName: "eth0"}).Key(), "3ZMGHMZQMWNU3CH2HH6XTQH3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// IDs that differ in a digit, at either end, have keys of their own.
func TestKeysDiffer(t *testing.T) {
	seen := map[string]Owner{}
	for i := range 20000 {
		for _, o := range []Owner{
			{ContainerID: fmt.Sprintf("%064x", i), IfName: "eth0"},
			{ContainerID: fmt.Sprintf("%x%060d", i+1<<20, 0), IfName: fmt.Sprint("eth", i%3)},
		} {
			key := o.Key()
			if other, ok := seen[key]; ok || len(key) != 24 {
				t.Fatalf("%+v and %+v have the key %s", o, other, key)
			}
			seen[key] = o
		}
	}
}

func TestComment(t *testing.T) {
	long := strings.Repeat("n", 255)
	for _, tt := range []struct {
		name  string
		o     Owner
		whole bool
	}{
		{"a usual comment comes back whole", Owner{Network: "cbr0", ContainerID: strings.Repeat("a", 64), IfName: "eth0"}, true},
		{"the longest that fits comes back whole", Owner{Network: long[:80], ContainerID: strings.Repeat("a", 128), IfName: "123456789012345"}, true},
		{"a network of 255 characters is shortened", Owner{Network: long, ContainerID: "abc", IfName: "123456789012345"}, false},
		{"a container ID of 1000 characters is shortened", Owner{Network: "n", ContainerID: strings.Repeat("c", 1000), IfName: "eth0"}, false},
		{"both are shortened", Owner{Network: long, ContainerID: strings.Repeat("c", 1000), IfName: "123456789012345"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.o.Comment()
			if len(c) > maxComment {
				t.Errorf("comment has %d bytes, more than %d", len(c), maxComment)
			}
			got, ok := ParseComment(c)
			if !ok {
				t.Fatalf("comment %q cannot be read", c)
			}
			if got.IfName != tt.o.IfName {
				t.Errorf("interface is %q, want %q", got.IfName, tt.o.IfName)
			}
			if diff := cmp.Diff(tt.o, got); (diff == "") != tt.whole {
				t.Errorf("whole should be %v (-want +got)\n%s", tt.whole, diff)
			}
		})
	}
}

// Whatever an interface is called, a comment is printable, ends where it should, and
// tells the name.
func FuzzEscape(f *testing.F) {
	for _, name := range []string{"eth0", `";monitor#`, `a\`, "100%", "%41", "%", "%2", "\xff\xfe", "a\x1b[2Jb", "\u202ex", "a b", ""} {
		f.Add(name)
	}
	plain := regexp.MustCompile(`^[!#-&(-\[\]-~]*$`)
	f.Fuzz(func(t *testing.T, name string) {
		s := Escape(name)
		if got := Unescape(s); got != name || !plain.MatchString(s) {
			t.Errorf("%q is written as %q and read as %q", name, s, got)
		}
		if name == "" || len(name) > 15 {
			return
		}
		o := Owner{Network: strings.Repeat("n", 80), ContainerID: strings.Repeat("c", 128), IfName: name, Netns: 4294967295}
		got, ok := ParseComment(o.Comment())
		if len(o.Comment()) > maxComment || !ok || got.IfName != name {
			t.Errorf("%q (%d bytes) is read as %+v", o.Comment(), len(o.Comment()), got)
		}
		if _, key, ok := ParseTag(o.Tag()); !ok || key != o.Key() || len(o.Tag()) > maxTag {
			t.Errorf("%q is read as %s", o.Tag(), key)
		}
		o = Owner{Network: "net", ContainerID: "c", IfName: name}
		if got, key, ok := ParseTag(o.Tag()); !ok || key != o.Key() || got != o {
			t.Errorf("%q is read as %+v", o.Tag(), got)
		}
	})
}

func TestShortenedCommentsStayDistinct(t *testing.T) {
	id, net := strings.Repeat("c", 200), strings.Repeat("n", 200)
	seen := map[string]bool{}
	for _, o := range []Owner{
		{Network: net + "a", ContainerID: id + "a"}, {Network: net + "b", ContainerID: id + "a"},
		{Network: net + "a", ContainerID: id + "b"}, {Network: net + "b", ContainerID: id + "b"},
	} {
		seen[o.Comment()] = true
	}
	if len(seen) != 4 {
		t.Errorf("4 owners have %d comments", len(seen))
	}
}

func TestParseCommentRefusesOthers(t *testing.T) {
	for _, s := range []string{"", "portguard", "portguard a b", "portguard a b c d", "other a b c", `dnat name: "a" id: "b"`} {
		if o, ok := ParseComment(s); ok {
			t.Errorf("%q was read as %+v", s, o)
		}
	}
}

func TestOwnerForPeople(t *testing.T) {
	o := Owner{Network: "cbr0", ContainerID: "0123456789abcdef", IfName: "eth0"}
	if got, want := o.String(), "container 0123456789abc (network cbr0, eth0)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (Owner{ContainerID: "abc", Network: "n"}).Short(), "container abc (network n)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	o.PodNamespace, o.PodName = "default", "web-0"
	if got, want := o.String(), "pod default/web-0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTag(t *testing.T) {
	short := Owner{Network: "net", ContainerID: strings.Repeat("a", 64), IfName: "eth0", Netns: 4026532345}
	long := Owner{Network: strings.Repeat("n", 100), ContainerID: strings.Repeat("b", 200), IfName: "eth0", Netns: 4026532345}
	for _, o := range []Owner{short, long, {Network: "n", ContainerID: "c", IfName: "eth0"}} {
		tag := o.Tag()
		got, key, ok := ParseTag(tag)
		if len(tag) > 128 || !ok || key != o.Key() || got.Netns != o.Netns || got.IfName != o.IfName {
			t.Errorf("%q (%d characters) is read as %+v, key %s, %v", tag, len(tag), got, key, ok)
		}
	}
	if got, _, _ := ParseTag(short.Tag()); got != short {
		t.Errorf("got %+v", got)
	}
	for _, s := range []string{"", "portguard", "portguard # a b c", "portguard a b", "portguard a b c d", "portguard #K a b", "other #K a b c", "portguard a b c d e"} {
		if o, key, ok := ParseTag(s); ok && key != "" {
			t.Errorf("%q is read as %+v, key %s", s, o, key)
		}
	}
}
