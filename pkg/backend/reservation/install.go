// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend/reservation/program"
	"github.com/portguard/portguard/pkg/bpf"
)

// ensure opens the maps, and makes them and attaches the programs if that was not done since
// boot, or was by another version, or has been undone. The error is ErrOff if the kernel or the
// node does not let it.
func (r root) ensure() (*hook, error) {
	if h, err := r.standing(); h != nil || err != nil {
		return h, err
	}
	if err := cmp.Or(r.tried(), mountable()); err != nil {
		return nil, err
	}
	if err := mount(); err != nil {
		return nil, err
	}
	unlock, err := lock()
	if err != nil {
		return nil, off(err)
	}
	defer unlock()
	if h, err := r.standing(); h != nil || err != nil { // somebody was first
		return h, err
	}
	h, err := r.install()
	if err != nil {
		r.tidy()
		if errors.Is(err, errTrial) {
			_ = os.Symlink(err.Error(), r.failed())
		}
		return nil, off(err)
	}
	return h, nil
}

// standing opens the maps if programs of this version are in place that read them; otherwise
// it is nil.
func (r root) standing() (*hook, error) {
	h, err := r.maps(bpf.OpenMap)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && !h.current(r) {
		h.close()
		h = nil
	}
	return h, err
}

// off says why. What the cause was must not matter to who tries again.
func off(err error) error { return fmt.Errorf("%w: %s", ErrOff, err.Error()) }

// Uninstall takes the programs and maps off this node: nothing is held any more, until the next
// ADD.
func Uninstall() error {
	r, err := openRoot()
	if err != nil {
		return nil //nolint:nilerr // without cgroup v2 there are none
	}
	defer r.close()
	_, err1 := os.Lstat(r.dir())
	_, err2 := os.Lstat(r.failed())
	if errors.Is(err1, fs.ErrNotExist) && errors.Is(err2, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	err = errors.Join(os.RemoveAll(r.dir()), os.RemoveAll(r.failed()))
	_ = os.Remove(filepath.Dir(r.dir())) // unless another node has its own there
	return err
}

// tidy removes what an attempt has left that failed.
func (r root) tidy() {
	for _, at := range hooks() {
		if _, err := r.linked(at); err == nil {
			return // another version's, which works
		}
	}
	_ = os.RemoveAll(r.dir())
	_ = os.Remove(filepath.Dir(r.dir()))
}

// install loads the programs, attaches them and tries what they do. Only then they are
// pinned.
func (r root) install() (*hook, error) {
	if err := os.MkdirAll(r.dir(), 0o700); err != nil {
		return nil, err
	}
	h, err := r.maps(openOrMake)
	if err != nil {
		return nil, err
	}
	progs, err := h.load()
	if err != nil {
		h.close()
		return nil, err
	}
	links := map[string]int{}
	defer func() {
		for _, fds := range []map[string]int{progs, links} {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}()
	for _, at := range hooks() {
		if err = r.attach(at, progs[at.pin], links); err != nil {
			break
		}
	}
	if err == nil && len(links) == len(hooks()) { // not those that have replaced others
		err = probe(h)
	}
	for pin, link := range links {
		if err == nil {
			err = r.pin(pin, link)
		}
	}
	if err != nil {
		for pin := range links { // half of it would be taken for another version's
			_ = os.Remove(filepath.Join(r.dir(), pin))
		}
		h.close()
		return nil, err
	}
	return h, nil
}

// failed is a link that says, instead of a path, what went wrong when the programs were tried. A
// bpffs has no files for text.
func (r root) failed() string { return r.dir() + "-failed" }

// tried reports what went wrong when the programs were tried since boot.
func (r root) tried() error {
	why, err := os.Readlink(r.failed())
	if err != nil {
		return nil
	}
	return off(fmt.Errorf("%s; remove %s to try it again", why, r.failed()))
}

// attach attaches a program, or puts it without a gap in the place of one that is there.
func (r root) attach(at point, prog int, links map[string]int) error {
	if _, err := r.linked(at); err == nil {
		fd, err := bpf.Open(filepath.Join(r.dir(), at.pin))
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return bpf.Replace(fd, prog)
	}
	link, err := bpf.Attach(prog, r.fd, at.attach)
	if errors.Is(err, unix.EPERM) {
		err = cmp.Or(r.closed(at), err)
	}
	if err == nil {
		links[at.pin] = link
	}
	return err
}

// pin pins a link, in the place of one that leads to a cgroup that is gone.
func (r root) pin(name string, link int) error {
	path := filepath.Join(r.dir(), name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return bpf.Pin(link, path)
}

// openOrMake opens a pinned map, or makes and pins it.
func openOrMake(path string, s bpf.Spec) (*bpf.Map, error) {
	m, err := bpf.OpenMap(path, s)
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if m, err = bpf.NewMap(s); err != nil {
		return nil, err
	}
	if err = bpf.Pin(m.FD, path); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// load loads both programs, which ask for the PID where the kernel has that.
func (h *hook) load() (map[string]int, error) {
	out, err := h.loadAs(program.New(true))
	if err != nil {
		out, err = h.loadAs(program.New(false))
	}
	return out, err
}

func (h *hook) loadAs(progs program.Programs) (map[string]int, error) {
	out := map[string]int{}
	for _, at := range hooks() {
		code := at.code(progs)
		fd, err := bpf.Load(program.Version(code), program.License, at.attach, program.Link(code, [3]int{h.ports.FD, h.spare.FD, h.refused.FD}))
		if err != nil {
			for _, fd := range out {
				_ = unix.Close(fd)
			}
			return nil, err
		}
		out[at.pin] = fd
	}
	return out, nil
}

// possible reports why ensure would fail, as far as it can be told without doing it.
func (r root) possible() error {
	// What costs little is asked first: a node that cannot is asked by every ADD.
	if err := cmp.Or(r.tried(), mountable()); err != nil {
		return err
	}
	for _, at := range hooks() {
		if err := r.closed(at); err != nil {
			return off(err)
		}
	}
	h, err := r.maps(func(_ string, s bpf.Spec) (*bpf.Map, error) { return bpf.NewMap(s) })
	if err != nil {
		return off(err)
	}
	defer h.close()
	progs, err := h.load()
	if err != nil {
		return off(err)
	}
	for _, fd := range progs {
		_ = unix.Close(fd)
	}
	return nil
}

// closed reports whether somebody lets nobody else attach programs.
func (r root) closed(at point) error {
	ids, flags, err := bpf.Query(r.fd, at.attach)
	if err == nil && len(ids) > 0 && flags&unix.BPF_F_ALLOW_MULTI == 0 {
		err = fmt.Errorf("program %d is attached to the root of the cgroups and allows no other there (it lacks BPF_F_ALLOW_MULTI); ask whose it is: bpftool prog show id %[1]d", ids[0])
	}
	return err
}
