from collections import defaultdict

import cv2

from framelane_processor import Detection, Frame, Image, processor

backgrounds: defaultdict[str, cv2.BackgroundSubtractor] = defaultdict(cv2.createBackgroundSubtractorMOG2)


@processor(name="motion", version="1", threads=1)  # it learns from each picture: one at a time
def motion(image: Image, frame: Frame) -> list[Detection]:
    """Finds what moves, against a background learned for each source."""
    moving = backgrounds[frame.id.source_id].apply(image)
    solid = cv2.threshold(cv2.medianBlur(moving, 5), 200, 255, cv2.THRESH_BINARY)[1]  # without noise and shadows
    blobs, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [Detection("moving", cv2.boundingRect(blob)) for blob in blobs if cv2.contourArea(blob) > 150]


motion.serve()
