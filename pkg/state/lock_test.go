// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLockExcludes(t *testing.T) {
	s := store(t)
	unlock, err := s.Lock(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	start := time.Now()
	_, err = s.Lock(50 * time.Millisecond)
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("error is %v, want ErrLocked", err)
	}
	if !strings.Contains(err.Error(), s.dir) || !strings.Contains(err.Error(), "waited ") {
		t.Errorf("error %q does not say what was waited for", err)
	}
	if d := time.Since(start); d < 50*time.Millisecond || d > 5*time.Second {
		t.Errorf("waited %s, want 50ms", d)
	}
	other := store(t)
	done, err := other.Lock(time.Second)
	if err != nil {
		t.Fatalf("another directory is locked: %v", err)
	}
	done()
}

func TestLockWaitsForTheHolder(t *testing.T) {
	s := store(t)
	unlock, err := s.Lock(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, unlock)
	second, err := s.Lock(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	second()
}

// Many who start at once have the lock in turn. The last one waits for longer than the
// timeout, and for nobody that long.
func TestLockQueue(t *testing.T) {
	s := store(t)
	const many, hold, timeout = 40, 50 * time.Millisecond, time.Second
	failed := make(chan error, many)
	for range many {
		go func() {
			unlock, err := s.Lock(timeout)
			if err == nil {
				time.Sleep(hold)
				unlock()
			}
			failed <- err
		}()
	}
	for range many {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// A queue that never comes to its end is not waited for.
func TestLockEndlessQueue(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := flock(f, time.Second, 1); err != nil {
		t.Fatal(err)
	}
	var queue sync.WaitGroup
	stop := make(chan struct{})
	defer queue.Wait()
	defer close(stop)
	queue.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				stamp(f)
			}
		}
	})
	const timeout = 400 * time.Millisecond
	for _, turns := range []int{1, 3} {
		second, err := os.Open(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		err = flock(second, timeout, turns)
		if took := time.Since(start); !errors.Is(err, ErrLocked) || took < time.Duration(turns)*timeout {
			t.Errorf("%d turns: after %s: %v", turns, took, err)
		}
	}
}

func TestLockAdmitsOneAtATime(t *testing.T) {
	s := store(t)
	inside, most := 0, 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			unlock, err := s.Lock(30 * time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			inside--
			mu.Unlock()
			unlock()
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d held the lock at once", most)
	}
}

// Who waited for a file that is gone must not believe to hold the lock: the
// next one locks another file.
func TestLockSurvivesTheRemovalOfItsDirectory(t *testing.T) {
	s := store(t)
	first, err := s.Lock(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		unlock func()
		err    error
	}
	waiter := make(chan result, 1)
	go func() {
		unlock, err := s.Lock(10 * time.Second)
		waiter <- result{unlock, err}
	}()
	waitForWaiter(t, s)
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	first()
	r := <-waiter
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.unlock()
	if _, err := os.Stat(filepath.Join(s.dir, "lock")); err != nil {
		t.Fatalf("the lock that is held is not there: %v", err)
	}
	if _, err := s.Lock(50 * time.Millisecond); !errors.Is(err, ErrLocked) {
		t.Errorf("two hold the lock: error is %v, want ErrLocked", err)
	}
}

// waitForWaiter returns when the lock's file is open twice.
func waitForWaiter(t *testing.T, s *Store) {
	t.Helper()
	path := filepath.Join(s.dir, "lock")
	for range 500 {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && to == path {
				n++
			}
		}
		if n >= 2 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nobody waits")
}

// What is in the place of the lock goes, and no link is followed. However many find it,
// one has the lock at a time.
func TestLockReplacesWhatIsNone(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	write(t, target, "x")
	for name, put := range map[string]func(path string) error{
		"a directory":            func(p string) error { return os.MkdirAll(p+"/x/y", 0o700) },
		"a link":                 func(p string) error { return os.Symlink(target, p) },
		"a link that is nowhere": func(p string) error { return os.Symlink(target+"x", p) },
		"a FIFO":                 func(p string) error { return unix.Mkfifo(p, 0o600) },
		"a socket":               func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) },
	} {
		s := created(t)
		if err := put(filepath.Join(s.dir, "lock")); err != nil {
			t.Fatal(err)
		}
		var inside atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				unlock, err := s.Lock(30 * time.Second)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if inside.Add(1) != 1 {
					t.Errorf("%s: two hold the lock", name)
				}
				time.Sleep(time.Millisecond)
				inside.Add(-1)
				unlock()
			})
		}
		wg.Wait()
		if !regular(filepath.Join(s.dir, "lock")) {
			t.Errorf("%s is still there", name)
		}
		if b, err := os.ReadFile(target); err != nil || string(b) != "x" {
			t.Errorf("%s: the target is %q, %v", name, b, err)
		}
		if _, err := os.Lstat(target + "x"); err == nil {
			t.Errorf("%s: the target was made", name)
		}
	}
}

// Where there can be no lock, the error says that nobody holds it.
func TestLockWhereNoDirectoryCanBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if err := os.Symlink(file+"x", file+"-link"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "/x", file + "-link", "/proc/nothing"} {
		_, err := Open(dir).Lock(time.Second)
		var d *DirError
		if !errors.As(err, &d) || !d.Free || errors.Is(err, ErrLocked) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// A free lock is taken, however short the wait; a wait that runs out keeps nothing.
func TestLockTakesWhatIsFree(t *testing.T) {
	for range 100 {
		s := store(t)
		unlock, err := s.Lock(1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lock(1); !errors.Is(err, ErrLocked) {
			t.Fatalf("a second one: %v", err)
		}
		unlock()
		waiting, err := s.Lock(time.Second) // after the one that ran out
		if err != nil {
			t.Fatal(err)
		}
		waiting()
	}
}
