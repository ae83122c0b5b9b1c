"""Editor files, made by hand."""

from __future__ import annotations


def a_file(*nodes, links=(), **more):
    return {"nodes": list(nodes), "links": list(links), "version": 0.4, **more}


def a_node(node_id, node_type, inputs=(), outputs=(), values=None, **more):
    """A node; inputs are (name, type, link), outputs (name, type, links)."""
    return {
        "id": node_id,
        "type": node_type,
        "mode": 0,
        "inputs": [{"name": n, "type": t, "link": link} for n, t, link in inputs],
        "outputs": [{"name": n, "type": t, "links": links} for n, t, links in outputs],
        "widgets_values": values,
        **more,
    }
