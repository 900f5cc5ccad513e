"""rosbag2's `metadata.yaml`, by which `ros2 bag` knows what a folder holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml


def write_bag_metadata(
    path: Path, topics: Mapping[str, tuple[str, int]], first: int, last: int
) -> None:
    """Write `metadata.yaml` beside the only MCAP file of a bag.

    Args:
        path: of the MCAP file.
        topics: type and number of messages of each topic; those without messages are left out.
        first, last: log times of the first and the last message [ns].
    """
    start = {"nanoseconds_since_epoch": first}
    duration = {"nanoseconds": last - first}
    total = sum(count for _, count in topics.values())
    information = {
        "version": 5,
        "storage_identifier": "mcap",
        "duration": duration,
        "starting_time": start,
        "message_count": total,
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": name,
                    "type": datatype,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": "",
                },
                "message_count": count,
            }
            for name, (datatype, count) in topics.items()
            if count
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [path.name],
        "files": [
            {
                "path": path.name,
                "starting_time": start,
                "duration": duration,
                "message_count": total,
            }
        ],
    }
    # whole or not at all: a crash while writing leaves a bag without metadata, not a broken one
    unfinished = path.parent / ".metadata.yaml"
    unfinished.write_text(yaml.safe_dump({"rosbag2_bagfile_information": information}))
    os.replace(unfinished, path.parent / "metadata.yaml")
