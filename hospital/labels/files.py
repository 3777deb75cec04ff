"""`fracture hospital labels`: final reports from files, for a site that sends none to the port."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hospital.config import Config
from hospital.database import Database
from hospital.errors import HospitalError
from hospital.labels import fhir, hl7, matching
from hospital.labels.reports import FinalReport
from hospital.scoring import bundle_folder, check_codes
from serving import bundle as bundles
from serving.errors import one_line


def take(config: Config, files: Sequence[Path]) -> str:
    """Note the labels of the reports in files, for the running gateway to send on; what became of them, in words.

    All files are read before anything is noted. HospitalError for a file that holds no report's message or resource.
    """
    if config.store is None:
        raise HospitalError("store: the table is missing; it names the codes of final reports and what they mean")
    if not config.store.codes:
        raise HospitalError("store.codes: names no code, so that no report would say anything")
    if not config.model.service:  # of a service, `check` and a start ask
        check_codes(config.store, bundles.read(bundle_folder(config.model)).manifest.classes)
    reports = [report for path in files for report in read(path)]
    database = Database(config.database_url)
    database.prepare()
    with database.session() as session:
        counts = Counter(matching.take(session, report, config.store.codes) for report in reports)
    database.close()
    found = ", ".join(f"{counts[outcome]} {outcome}" for outcome in matching.OUTCOMES if counts[outcome])
    return f"{len(reports)} final reports" + (f": {found}" if found else "")


def read(path: Path) -> list[FinalReport]:
    """The final reports of one file: a JSON object of FHIR, or an HL7 v2 message."""
    try:
        content = path.read_bytes()
        if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return fhir.final_reports(json.loads(content))
        return hl7.final_reports(hl7.Message.parse(content))
    except OSError as error:
        raise HospitalError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError, hl7.Hl7Error) as error:
        reason = one_line(error) if isinstance(error, hl7.Hl7Error) else "its JSON is broken"
        raise HospitalError(f"{path}: holds no report ({reason})") from None
