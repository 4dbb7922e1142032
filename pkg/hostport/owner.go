// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"encoding/base32"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// An Owner is the attachment that holds a hostPort. ContainerID and IfName
// identify it: an interface name is unique within a container, while a network
// may be renamed between ADD and DEL.
type Owner struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName"`
	// The pod's name is known only when the runtime passed it in CNI_ARGS.
	PodNamespace string `json:"podNamespace,omitempty"`
	PodName      string `json:"podName,omitempty"`
	// Netns is the inode of the container's network namespace, 0 if not known.
	// It tells the dead from the living where there is no record.
	Netns uint64 `json:"netns,omitempty"`
}

// maxComment is what the kernel's xt_comment takes: 256 bytes with the NUL.
const maxComment = 255

// commentTag starts the comment of every rule of ours.
const commentTag = "portguard"

// A Key is 24 characters that name an attachment in chain and file names.
type Key = string

// Key returns the key of the attachment.
//
//go:noinline // it is called from many places
func (o Owner) Key() Key {
	return digest(o.ContainerID + "\x00" + o.IfName)
}

// Keys are those of attachments.
func Keys(as []Attachment) []Key {
	out := make([]Key, len(as))
	for i, a := range as {
		out[i] = a.Owner.Key()
	}
	return out
}

// Same reports whether o and p are one attachment.
func (o Owner) Same(p Owner) bool { return o.ContainerID == p.ContainerID && o.IfName == p.IfName }

// Comment returns the text that marks o's rules, so that the kernel alone tells
// whose they are. What does not fit is shortened to a digest.
func (o Owner) Comment() string {
	net, id, ifName := Escape(o.Network), Escape(o.ContainerID), Escape(o.IfName)
	if len(net) > 80 {
		net = net[:40] + "~" + digest(net)
	}
	if len(id) > 128+15-max(15, len(ifName)) {
		id = id[:64] + "~" + digest(id)
	}
	return o.tag(net, id, ifName)
}

// tag joins the words of a comment.
func (o Owner) tag(words ...string) string {
	s := strings.Join(append([]string{commentTag}, words...), " ")
	if o.Netns != 0 {
		s += " " + strconv.FormatUint(o.Netns, 10)
	}
	return s
}

// Tag is Comment for nftables, where a comment has at most 128 characters. What
// is too long gives way to the key.
func (o Owner) Tag() string {
	net, id, ifName := Escape(o.Network), Escape(o.ContainerID), Escape(o.IfName)
	if s := o.tag(net, id, ifName); len(s) <= maxTag {
		return s
	}
	return o.tag(keyTag+o.Key(), cut(net, 16), cut(id, 32), cut(ifName, 15))
}

// Escape writes a name in printable ASCII, as a URL does. nft prints a comment as it is,
// so a quote in it would end it for whoever loads what was printed, and a terminal obeys
// control characters.
func Escape(name string) string {
	if strings.IndexFunc(name, odd) < 0 {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; odd(rune(c)) {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// odd reports whether Escape writes a character in another way.
func odd(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`"'\%`, c) }

// Unescape is the inverse of Escape.
func Unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// maxTag is NFTNL_UDATA_COMMENT_MAXLEN; keyTag marks a key that is given because
// the rest was cut.
const (
	maxTag = 128
	keyTag = "#"
)

// ParseTag is the inverse of Tag. The owner may be cut, the key is whole.
func ParseTag(s string) (o Owner, key string, ok bool) {
	if o, ok = ParseComment(s); ok {
		return o, o.Key(), true
	}
	tagged, rest, _ := strings.Cut(strings.TrimPrefix(s, commentTag+" "), " ")
	key, ok = strings.CutPrefix(tagged, keyTag)
	if o, whole := ParseComment(commentTag + " " + rest); ok && whole {
		return o, key, true
	}
	return Owner{}, "", false
}

// ParseComment is the inverse of Comment, as far as nothing was shortened.
func ParseComment(s string) (Owner, bool) {
	f := strings.Split(s, " ")
	if len(f) != 4 && len(f) != 5 || f[0] != commentTag || strings.HasPrefix(f[1], keyTag) {
		return Owner{}, false
	}
	o := Owner{Network: Unescape(f[1]), ContainerID: Unescape(f[2]), IfName: Unescape(f[3])}
	if len(f) == 5 {
		var err error
		if o.Netns, err = strconv.ParseUint(f[4], 10, 64); err != nil {
			return Owner{}, false
		}
	}
	return o, true
}

// Pod is "namespace/name", "" if it is not known. podman knows no namespaces.
func (o Owner) Pod() string {
	if o.PodName == "" || o.PodNamespace == "" {
		return o.PodName
	}
	return o.PodNamespace + "/" + o.PodName
}

// String names the owner for people: the pod where it is known.
func (o Owner) String() string {
	switch {
	case o.PodName != "":
		return "pod " + o.Pod()
	case o.IfName == "":
		return o.Short()
	}
	return "container " + cut(o.ContainerID, shortID) + " (network " + o.Network + ", " + o.IfName + ")"
}

// shortID is how many characters of a container ID crictl shows.
const shortID = 13

func cut(s string, n int) string { return s[:min(n, len(s))] }

// digest is 120 bits of FNV-1a, so that a million of them collide with probability
// 2^-81. Nobody gains by a collision: the IDs are the runtime's. Go's cryptography
// would cost every start of the plugin 1 to 2 %. The last byte is the weakest.
func digest(s string) string {
	h := fnv.New128a()
	_, _ = h.Write([]byte(s)) // never fails
	return base32.StdEncoding.EncodeToString(h.Sum(nil)[:15])
}

// Short names the container and its network, if that is known.
func (o Owner) Short() string {
	short := "container " + cut(o.ContainerID, shortID)
	if o.Network == "" {
		return short
	}
	return short + " (network " + o.Network + ")"
}
