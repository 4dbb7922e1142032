// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// An answer that the buffer cuts off is an error: what is missing would be free.
func TestAnswerLongerThanTheBuffer(t *testing.T) {
	c := Open()
	c.buf = make([]byte, 24)
	const getGen = 16
	out, err := c.ask(getGen, unix.NLM_F_ACK, 0, nil)
	if err == nil || os.Geteuid() == 0 && !errors.Is(err, nft.ErrCutOff) {
		t.Errorf("got %v, %v", out, err)
	}
	if c.fd >= 0 {
		t.Error("the rest is left in the socket")
	}
}
