// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/run"
)

// ErrNoKernel means that the kernel lacks what our table needs.
var ErrNoKernel = errors.New("the kernel lacks what nftables mappings need")

// Supported says what the kernel lacks: nf_tables with intervals in concatenated keys
// (Linux 5.6; nat in inet tables is older) and elements that count (5.7). It fails if the
// kernel does not say.
func (c *Conn) Supported() (lacks, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("could not read the version of the kernel: %w", err)
	}
	_, err = c.ask(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, nft.Inet, nil)
	return enough(unix.ByteSliceToString(u.Release[:]), err)
}

// enough judges the kernel by its release and its answer.
func enough(release string, answer error) (lacks, err error) {
	switch {
	case !atLeast(release, 5, 7):
		return fmt.Errorf("%w: Linux %s is older than 5.7", ErrNoKernel, release), nil
	case absent(answer):
		return fmt.Errorf("%w: it has no nf_tables", ErrNoKernel), nil
	case answer != nil:
		return nil, fmt.Errorf("could not read the nftables tables: %w", answer)
	}
	return nil, nil
}

func atLeast(release string, major, minor int) bool {
	numbers := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(numbers) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(numbers[0])
	b, err2 := strconv.Atoi(numbers[1])
	return err1 == nil && err2 == nil && (a > major || a == major && b >= minor)
}

// ErrNoTool means that nft is needed and not installed.
var ErrNoTool = errors.New("nft is not installed")

// HasTool reports whether RunScript can work.
func HasTool() bool {
	_, err := exec.LookPath("nft")
	return err == nil
}

// RunScript has the nft program on PATH load a script: one transaction.
func RunScript(script string) error {
	const limit = time.Minute
	path, err := exec.LookPath("nft")
	if err != nil {
		return ErrNoTool
	}
	res, err := run.Run(path, script, limit, "-f", "-")
	if err != nil {
		return fmt.Errorf("could not have nft load the rules: %w", err)
	}
	if said := res.Said(); said != "" {
		return fmt.Errorf("could not have nft load the rules: %s", said)
	}
	return nil
}
