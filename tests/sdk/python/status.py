"""Follows the status of an object as the official SDK reads it, for the laboratory: a line for each change, and `404` at the end.

    status.py (gateway | connection | link) ID
"""

import sys
import time

from scaleway import Client, ScalewayException
from scaleway.interlink.v1beta1 import InterlinkV1Beta1API
from scaleway.s2s_vpn.v1alpha1 import S2SVpnV1Alpha1API


def main(kind, wanted):
    client = Client.from_env()
    read = {
        "gateway": lambda: S2SVpnV1Alpha1API(client).get_vpn_gateway(gateway_id=wanted),
        "connection": lambda: S2SVpnV1Alpha1API(client).get_connection(connection_id=wanted),
        "link": lambda: InterlinkV1Beta1API(client).get_link(link_id=wanted),
    }[kind]
    last = None
    while last != "404":
        try:
            status = read().status
            status = getattr(status, "value", status)
        except ScalewayException as error:
            if error.status_code != 404:
                raise
            status = "404"
        if status != last:
            print(status, flush=True)
        last = status
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
