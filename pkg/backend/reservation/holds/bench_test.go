// SPDX-License-Identifier: Apache-2.0

package holds

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

// BenchmarkAdd holds 16,000 ports of a pod, and looks what has to be done for it.
func BenchmarkAdd(b *testing.B) {
	a := hostport.Attachment{Owner: hostport.Owner{Network: "net", ContainerID: "many", IfName: "eth0"}, Localhost: true}
	for i := range uint16(16000) {
		for _, f := range hostport.Families() {
			a.Mappings = append(a.Mappings, hostport.Mapping{Family: f, Proto: hostport.TCP, HostPort: 10000 + i, ContainerPort: 80})
		}
	}
	have := None(Node{From: 32768, To: 60999}, nil)
	for b.Loop() {
		held := have.With(a).(State)
		if len(Fresh(have, held)) != len(a.Mappings) || Diff(have, held).Empty() || !Diff(held, have.With(a).(State)).Empty() {
			b.Fatal("nothing to do")
		}
	}
}
