// SPDX-License-Identifier: Apache-2.0

// Command server is what runs in the pods of the stories. "server PORT..." answers
// everybody on each port, tcp and udp, with the pod's name and the peer's address;
// "server holding PORT..." takes as long as it may when it is told to end; without
// arguments it waits, as the container of a pod that only keeps its namespaces.
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
	ports := os.Args[1:]
	holding := len(ports) > 0 && ports[0] == "holding"
	if holding {
		ports = ports[1:]
	}
	name, _ := os.Hostname()
	for _, port := range ports {
		udp, err := net.ListenPacket("udp", ":"+port)
		if err != nil {
			log.Fatal(err)
		}
		tcp, err := net.Listen("tcp", ":"+port)
		if err != nil {
			log.Fatal(err)
		}
		go datagrams(udp, name)
		go connections(tcp, name)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	<-end
	if holding {
		select {}
	}
}

func connections(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		fmt.Fprintln(c, name, host)
		c.Close()
	}
}

func datagrams(c net.PacketConn, name string) {
	b := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(b)
		if err != nil {
			log.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(from.String())
		_, _ = c.WriteTo(fmt.Appendln(nil, name, host), from)
	}
}
