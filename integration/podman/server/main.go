// SPDX-License-Identifier: Apache-2.0

// Command server is all that is in the container image of the podman test. "server NAME
// PORT" answers everybody on that port, tcp and udp, with NAME and the peer's address;
// without arguments it waits, as the container of a pod that only keeps its namespaces.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) == 3 {
		udp, err := net.ListenPacket("udp", ":"+os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		tcp, err := net.Listen("tcp", ":"+os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		go datagrams(udp)
		go connections(tcp)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	<-end
}

func connections(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(c, os.Args[1], c.RemoteAddr())
		c.Close()
	}
}

func datagrams(c net.PacketConn) {
	b := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(b)
		if err != nil {
			log.Fatal(err)
		}
		_, _ = c.WriteTo(fmt.Appendln(nil, os.Args[1], from), from)
	}
}
